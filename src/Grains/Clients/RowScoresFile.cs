using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Clients;

/// <summary>
/// What a client's last scoring said of each row, in its site's store and nowhere else: for comparisons of runs at the site. Nothing
/// depends on it: where it is lost or torn, a comparison has no standard error.
/// </summary>
/// <param name="Round">The round that was scored.</param>
/// <param name="Metric">The metric's name.</param>
/// <param name="Score">The score.</param>
/// <param name="Rows">Each row by itself, in the file's order.</param>
public sealed record RowScoresFile(int Round, string Metric, double Score, IReadOnlyList<RowScore> Rows)
{
    private sealed record Content(int Round, string Metric, double Score, string? Right, double[]? Values, int[]? Weights);

    /// <summary>Replaces what an earlier scoring left.</summary>
    public Task WriteAsync(IBlobStore store, string job, string site, string client, CancellationToken cancellationToken)
    {
        // A bit for each row where that is all there is.
        var areBits = Rows.All(static row => row is { Weight: 1, Value: 0 or 1 });
        var content = areBits
            ? new Content(Round, Metric, Score, string.Concat(Rows.Select(static row => row.Value == 1 ? '1' : '0')), null, null)
            : new Content(Round, Metric, Score, null,
                [.. Rows.Select(static row => row.Value)], [.. Rows.Select(static row => row.Weight)]);
        var bytes = SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(content));
        return store.WriteBytesAsync(Keys.RowScores(job, site, client), bytes, WriteCondition.Any, cancellationToken);
    }

    /// <summary>Reads what <see cref="WriteAsync"/> wrote; null where it is not there, or not whole.</summary>
    public static async Task<RowScoresFile?> ReadAsync(
        IBlobStore store, string job, string site, string client, CancellationToken cancellationToken)
    {
        if (await store.ReadBytesAsync(Keys.RowScores(job, site, client), cancellationToken) is not { } bytes
            || SealedJson.Check(bytes) is not null)
        {
            return null;
        }

        return Parse(bytes);
    }

    /// <summary>Reads what was stored.</summary>
    public static RowScoresFile Parse(byte[] bytes)
    {
        var content = JsonSerializer.Deserialize<Content>(bytes)!;
        RowScore[] rows = content.Right is { } right
            ? [.. right.Select(static bit => new RowScore(bit - '0', 1))]
            : [.. content.Values!.Zip(content.Weights!, static (value, weight) => new RowScore(value, weight))];
        return new(content.Round, content.Metric, content.Score, rows);
    }
}

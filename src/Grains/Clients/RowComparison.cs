using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Clients;

/// <summary>The last scores of a run beside those of another one, such as its local-only reference, row by row.</summary>
public static class RowComparison
{
    /// <summary>By client; without those whose rows are not there, or are of another round.</summary>
    /// <param name="siteStore">Where the rows are.</param>
    /// <param name="clients">Whom to compare, each with its site.</param>
    /// <param name="run">The run.</param>
    /// <param name="other">The one that it is compared with.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<IReadOnlyDictionary<string, ScoreComparison>> OfAsync(
        IBlobStore siteStore, IEnumerable<(string Site, string Client)> clients, string run, string other,
        CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, ScoreComparison>(StringComparer.Ordinal);
        foreach (var (site, client) in clients)
        {
            var own = await RowScoresFile.ReadAsync(siteStore, run, site, client, cancellationToken);
            var alone = await RowScoresFile.ReadAsync(siteStore, other, site, client, cancellationToken);
            if (own?.Round == alone?.Round && Compare(own, alone) is { } compared) found.Add(client, compared);
        }

        return found;
    }

    /// <summary>The last scores of a run beside those of one of another store, whatever their rounds, by client.</summary>
    /// <param name="own">The run's store, its name, and the site of each client.</param>
    /// <param name="other">Those of the other run.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<IReadOnlyDictionary<string, ScoreComparison>> BesideAsync(
        (IBlobStore Store, string Run, IReadOnlyDictionary<string, string> Sites) own,
        (IBlobStore Store, string Run, IReadOnlyDictionary<string, string> Sites) other, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, ScoreComparison>(StringComparer.Ordinal);
        foreach (var (client, site) in own.Sites)
        {
            if (!other.Sites.TryGetValue(client, out var otherSite)) continue;
            var compared = Compare(
                await RowScoresFile.ReadAsync(own.Store, own.Run, site, client, cancellationToken),
                await RowScoresFile.ReadAsync(other.Store, other.Run, otherSite, client, cancellationToken));
            if (compared is not null) found.Add(client, compared);
        }

        return found;
    }

    private static ScoreComparison? Compare(RowScoresFile? own, RowScoresFile? other) =>
        own is null || other is null || (own.Metric, own.Rows.Count) != (other.Metric, other.Rows.Count)
            ? null
            : ScoreErrors.Compare(own.Metric, own.Rows, (other.Score, other.Rows));
}

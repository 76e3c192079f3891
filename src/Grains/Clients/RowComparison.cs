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
            if (own is null || alone is null) continue;
            if ((own.Round, own.Metric, own.Rows.Count) != (alone.Round, alone.Metric, alone.Rows.Count)) continue;
            found.Add(client, ScoreErrors.Compare(own.Metric, own.Rows, (alone.Score, alone.Rows)));
        }

        return found;
    }
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Clients;

namespace FedRLora.Client.Local;

/// <summary>The last scores of a run beside those of its local-only reference, row by row.</summary>
internal static class LocalOnlyComparison
{
    /// <summary>By client; without those whose rows are not there, or are of another round.</summary>
    public static async Task<IReadOnlyDictionary<string, ScoreComparison>> OfAsync(
        IBlobStore store, FederationPlan plan, string job, string localOnly, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, ScoreComparison>(StringComparer.Ordinal);
        foreach (var client in plan.Clients.Where(static client => client.Data.Test is not null))
        {
            var own = await RowScoresFile.ReadAsync(store, job, client.Site, client.Id, cancellationToken);
            var alone = await RowScoresFile.ReadAsync(store, localOnly, client.Site, client.Id, cancellationToken);
            if (own is null || alone is null) continue;
            if ((own.Round, own.Metric, own.Rows.Count) != (alone.Round, alone.Metric, alone.Rows.Count)) continue;
            found.Add(client.Id, ScoreErrors.Compare(own.Metric, own.Rows, (alone.Score, alone.Rows)));
        }

        return found;
    }
}

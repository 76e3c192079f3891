using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>Committed states scored again, beside what their manifest says.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Round">The round.</param>
/// <param name="Clients">In client-id order.</param>
public sealed record RunEvaluation(int Schema, string Run, int Round, IReadOnlyList<ClientEvaluation> Clients)
{
    /// <summary>What sites found, beside a manifest.</summary>
    public static RunEvaluation Of(string run, FederationPlan plan, RoundManifest manifest, IEnumerable<ClientScored> scored)
    {
        var tasks = plan.Clients.ToDictionary(static client => client.Id, static client => client.Task, StringComparer.Ordinal);
        var recorded = manifest.Clients.ToDictionary(static client => client.Id, static client => client.Score, StringComparer.Ordinal);
        return new(1, run, manifest.Round, [.. scored.OrderBy(static one => one.ClientId, StringComparer.Ordinal).Select(one =>
            new ClientEvaluation(one.ClientId, tasks[one.ClientId], one.Score, recorded[one.ClientId], one.Failure))]);
    }
}

/// <summary>A client's committed state, scored again.</summary>
/// <param name="Client">The client.</param>
/// <param name="Task">Its task.</param>
/// <param name="Score">The score as of now; null where it has no test rows, or failed.</param>
/// <param name="Recorded">The score in the manifest; null in a round that was not scored.</param>
/// <param name="Failure">Why it could not be scored.</param>
public sealed record ClientEvaluation(string Client, string Task, ClientScore? Score, ClientScore? Recorded, string? Failure)
{
    /// <summary>Whether both are the same bit for bit; null where there is nothing to compare.</summary>
    public bool? Equal => Score is null || Recorded is null
        ? null
        : (Score.Metric, Score.Value, Score.Loss, Score.Rows) == (Recorded.Metric, Recorded.Value, Recorded.Loss, Recorded.Rows);
}

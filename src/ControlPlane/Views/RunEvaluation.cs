using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Sites;

namespace FedRLora.ControlPlane.Views;

/// <summary>Committed states scored again, beside what their manifest says.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Round">The round.</param>
/// <param name="Clients">In client-id order.</param>
public sealed record RunEvaluation(int Schema, string Run, int Round, IReadOnlyList<ClientEvaluation> Clients)
{
    /// <summary>What sites found, beside a manifest.</summary>
    public static RunEvaluation Of(string run, RoundManifest manifest, IEnumerable<ScoredAgain> scored)
    {
        var recorded = manifest.Clients.ToDictionary(static client => client.Id, static client => client.Score, StringComparer.Ordinal);
        return new(Json.Schema, run, manifest.Round, [.. scored.Select(one => new ClientEvaluation(
            one.Now.ClientId, one.Site, one.Task, one.Now.Score, recorded[one.Now.ClientId], one.Now.Failure, one.Now.Changes))]);
    }
}

/// <summary>A client's committed state, scored again.</summary>
/// <param name="Client">The client.</param>
/// <param name="Site">Its site.</param>
/// <param name="Task">Its task.</param>
/// <param name="Score">The score as of now; null where it has no test rows, or failed.</param>
/// <param name="Recorded">The score in the manifest; null in a round that was not scored.</param>
/// <param name="Failure">Why it could not be scored.</param>
/// <param name="Changes">What of base and rows is not what the round was made with, in a line each.</param>
public sealed record ClientEvaluation(
    string Client, string Site, string Task, ClientScore? Score, ClientScore? Recorded, string? Failure, IReadOnlyList<string> Changes)
{
    /// <summary>
    /// Whether both are the same bit for bit, as who scored them saw it: JSON has no NaN; null where there is nothing to compare.
    /// </summary>
    public bool? Equal { get; init; } = Score is null || Recorded is null
        ? null
        : (Score.Metric, Score.Value, Score.Loss, Score.Rows).Equals((Recorded.Metric, Recorded.Value, Recorded.Loss, Recorded.Rows));
}

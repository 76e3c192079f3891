using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>Whether everything that a run's manifests name is there as they name it.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Intact">Whether nothing is broken.</param>
/// <param name="Rounds">Committed rounds with an update.</param>
/// <param name="Blobs">Blobs that are what they should be.</param>
/// <param name="Digest">The digest of the run; null where that cannot be told.</param>
/// <param name="Broken">What is broken.</param>
/// <param name="Unchecked">Keys that could not be checked because what names them is broken.</param>
/// <param name="Leftovers">Keys that no manifest names.</param>
/// <param name="OtherSites">Sites whose heads were not looked at.</param>
/// <param name="Changes">Rounds from which on the run was allowed to go on with another base or other rows.</param>
public sealed record VerificationView(
    int Schema, string Run, bool Intact, int Rounds, int Blobs, string? Digest, IReadOnlyList<Finding> Broken,
    IReadOnlyList<string> Unchecked, IReadOnlyList<string> Leftovers, IReadOnlyList<string> OtherSites, IReadOnlyList<string> Changes)
{
    /// <summary>Why each of <see cref="OtherSites"/> was not looked at, where that is known.</summary>
    public IReadOnlyDictionary<string, string> NotAsked { get; init; } = new Dictionary<string, string>();

    /// <summary>What was found, as everyone reads it.</summary>
    public static VerificationView Of(string run, RunReport report) => new(
        Json.Schema, run, report.Broken.Count == 0, Math.Max(0, report.LastRound), report.Intact, report.Digest, report.Broken,
        report.Unchecked, report.Leftovers, report.OtherSites, report.Changes)
    {
        NotAsked = report.NotAsked,
    };
}

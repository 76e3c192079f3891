using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>What a fork starts from: a committed round of another job.</summary>
/// <param name="Manifest">The manifest of that round, read as the fork's own start: every head is one of round 0.</param>
/// <param name="Sha256">The digest of the manifest as the other job committed it.</param>
public sealed record Origin(RoundManifest Manifest, string Sha256)
{
    /// <summary>The origin that a manifest of another job is.</summary>
    public static Origin Of(RoundManifest manifest, string sha256) =>
        new(
            manifest with { Round = 0, Clients = manifest.Clients.Select(static client => client with { HeadRound = 0 }).ToArray() },
            sha256);
}

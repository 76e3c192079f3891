using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Runs;

namespace FedRLora.Grains.Coordination;

/// <summary>Reads committed rounds of a job as they are told.</summary>
internal sealed class CommittedRounds(GrainSettings settings, OpenJob job)
{
    /// <summary>The rounds after <paramref name="after"/> up to <paramref name="last"/>, as many as a message holds.</summary>
    public async Task<IReadOnlyList<RoundSummary>> ReadAsync(int after, int last, CancellationToken cancellationToken)
    {
        var rounds = new List<RoundSummary>();
        after = Math.Max(-1, after); // whoever asks: there is no round before 0
        last = (int)Math.Min((long)after + Math.Max(1, settings.MostClientsInMessage / job.Plan.Clients.Count), last);
        if (last <= after || job.Committed is not { Round: var newest } || job.CommittedSha256 is not { } digest) return rounds;
        var current = new CurrentRound { Round = newest, ManifestSha256 = digest };
        foreach (var (manifest, sha256) in await job.Log.ManifestsAsync(after + 1, last, current, cancellationToken))
            rounds.Add(await job.Log.SummaryAsync(manifest, sha256, cancellationToken));

        return rounds;
    }
}

using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Client.Rendering;

/// <summary>A job of this process, seen from outside.</summary>
internal static class JobFollowing
{
    /// <summary>
    /// Snapshots of a job until it is over; each brings the rounds that <paramref name="lastRound"/> says are not known.
    /// </summary>
    public static async IAsyncEnumerable<RunSnapshot> SnapshotsAsync(
        this IRunControlGrain coordinator, Func<int> lastRound, TimeSpan every, bool waitsWhilePaused = false,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await coordinator.GetProgressAsync(lastRound(), cancellationToken) is { } progress)
        {
            var waits = waitsWhilePaused && progress is { Status: JobStatus.Paused, Hold.Kind: HoldKind.Paused };
            yield return waits ? RunSnapshot.Of(progress) with { Status = JobStatus.Running } : RunSnapshot.Of(progress);
            if (progress.NewRounds.Count > 0) continue; // a long job's rounds come in several answers
            if (!waits && progress.Status != JobStatus.Running) yield break;
            await Task.Delay(every, cancellationToken);
        }
    }
}

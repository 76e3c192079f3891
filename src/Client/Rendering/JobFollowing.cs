using System.Diagnostics;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains;
using Orleans.Runtime;

namespace FedRLora.Client.Rendering;

/// <summary>A job seen from outside.</summary>
internal static class JobFollowing
{
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Snapshots of a job until it is over; each brings the rounds that <paramref name="lastRound"/> says are not known. Nobody
    /// answers while the job's silo is lost and another takes over: that is endured for <paramref name="patience"/>.
    /// </summary>
    public static async IAsyncEnumerable<JobProgress> SnapshotsAsync(
        this ICoordinatorGrain coordinator, Func<int> lastRound, TimeSpan every, TimeSpan patience = default, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await AskAsync(coordinator, lastRound(), every, patience, cancellationToken) is { } progress)
        {
            yield return progress;
            if (progress.NewRounds.Count > 0) continue; // a long job's rounds come in several answers
            if (progress.Status != JobStatus.Running) yield break;
            await Task.Delay(every, cancellationToken);
        }
    }

    private static async Task<JobProgress?> AskAsync(ICoordinatorGrain coordinator, int lastRound, TimeSpan every, TimeSpan patience, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                // What was asked of a lost silo is answered by nobody; the next question finds the silo that took over.
                return await coordinator.GetProgressAsync(lastRound, cancellationToken).WaitAsync(patience > TimeSpan.Zero ? AskAgainAfter : Timeout.InfiniteTimeSpan, cancellationToken);
            }
            catch (Exception e) when (e is OrleansException or TimeoutException && CorruptBlobException.OrBadInputIn(e) is null
                && Stopwatch.GetElapsedTime(started) < patience)
            {
                await Task.Delay(every, cancellationToken);
            }
        }
    }
}

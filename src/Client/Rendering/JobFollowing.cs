using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Cluster;
using FedRLora.ControlPlane;

namespace FedRLora.Client.Rendering;

/// <summary>A job seen from outside.</summary>
internal static class JobFollowing
{
    /// <summary>
    /// Snapshots of a job until it is over; each brings the rounds that <paramref name="lastRound"/> says are not known. Nobody
    /// answers while the job's silo is lost and another takes over: that is endured for <paramref name="patience"/>.
    /// </summary>
    public static async IAsyncEnumerable<JobProgress> SnapshotsAsync(
        this IRunControlGrain coordinator, Func<int> lastRound, TimeSpan every, TimeSpan patience = default, Action? unanswered = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await AskAsync() is { } progress)
        {
            yield return progress;
            if (progress.NewRounds.Count > 0) continue; // a long job's rounds come in several answers
            if (progress.Status != JobStatus.Running) yield break;
            await Task.Delay(every, cancellationToken);
        }

        Task<JobProgress?> AskAsync() =>
            PatientQuestion.AskAsync(
                token => coordinator.GetProgressAsync(lastRound(), token), patience, unanswered, cancellationToken: cancellationToken);
    }
}

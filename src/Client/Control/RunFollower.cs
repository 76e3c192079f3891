using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Control;

/// <summary>
/// A run of silos, followed to its end. A connection that is lost, with its silo or without, is taken up again where it was; no round is
/// told twice, and none is left out.
/// </summary>
/// <param name="silos">The silos.</param>
/// <param name="run">The run.</param>
/// <param name="unanswered">Called with a line when nobody has answered for a moment.</param>
internal sealed class RunFollower(ControlClient silos, string run, Action<string> unanswered)
{
    private static readonly TimeSpan Moment = TimeSpan.FromSeconds(2), Pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Snapshots until the run is over; each brings the rounds that <paramref name="lastRound"/> says are not known.</summary>
    /// <exception cref="NoAnswerException">Nobody answers at the start, or for a minute.</exception>
    public async IAsyncEnumerable<RunSnapshot> SnapshotsAsync(
        Func<int> lastRound, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (await PatientlyAsync(() => SnapshotAsync(lastRound(), cancellationToken), cancellationToken) is var snapshot)
        {
            yield return snapshot;
            if (snapshot.Status != JobStatus.Running) yield break;
            await Task.Delay(Pause, cancellationToken);
        }
    }

    private async Task<RunSnapshot> SnapshotAsync(int after, CancellationToken cancellationToken)
    {
        var line = await silos.StandingAsync(run, cancellationToken);
        var rounds = new List<RoundSummary>();
        await foreach (var round in silos.RoundsAsync(run, after, cancellationToken)) rounds.Add(round);
        return new()
        {
            Run = line.Run, Name = line.Name, Status = line.Status, Reason = line.Reason, Rounds = line.Rounds, Round = line.Round,
            Phase = line.Phase, Hold = line.Hold, NewRounds = rounds,
        };
    }

    // Once somebody has answered, another silo takes over what was lost, within seconds.
    private async Task<T> PatientlyAsync<T>(Func<Task<T>> ask, CancellationToken cancellationToken)
    {
        var (began, wasSaid) = (Stopwatch.GetTimestamp(), false);
        while (true)
        {
            try
            {
                var answer = await ask();
                _hasAnswered = true;
                return answer;
            }
            catch (NoAnswerException e) when (_hasAnswered)
            {
                var silent = Stopwatch.GetElapsedTime(began);
                if (silent > silos.Patience.Watching)
                    throw new NoAnswerException(
                        string.Create(CultureInfo.InvariantCulture, $"No silo has answered for {silent.TotalSeconds:F0} s"), e);
                if (silent > Moment && !wasSaid)
                {
                    unanswered($"no silo answers for run {run}; asking again for {silos.Patience.Watching.TotalSeconds:F0} s");
                    wasSaid = true;
                }
            }

            await Task.Delay(Pause, cancellationToken);
        }
    }

    private bool _hasAnswered;
}

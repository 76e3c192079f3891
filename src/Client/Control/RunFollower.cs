using System.Diagnostics;
using System.Globalization;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Control;

/// <summary>
/// A run of silos, followed to its end by its events. A stream that is cut, with its silo or without, is taken up again where it was, at
/// another silo too; rounds are read by their number, so that none is told twice or left out whatever a stream says.
/// </summary>
/// <param name="silos">The silos.</param>
/// <param name="run">The run.</param>
/// <param name="unanswered">Called with a line when nobody has answered for a moment.</param>
internal sealed class RunFollower(ControlClient silos, string run, Action<string> unanswered)
{
    private static readonly TimeSpan Moment = TimeSpan.FromSeconds(2), Pause = TimeSpan.FromMilliseconds(250);
    private string? _heard; // the id of the last event
    private long? _answered; // when somebody did
    private bool _isSaid;

    /// <summary>Snapshots until the run is over; each brings the rounds that <paramref name="lastRound"/> says are not known.</summary>
    /// <exception cref="NoAnswerException">Nobody answers at the start, or for a minute.</exception>
    public async IAsyncEnumerable<RunSnapshot> SnapshotsAsync(
        Func<int> lastRound, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        RunState? state = null;
        while (true)
        {
            await using var events = silos.EventsAsync(run, _heard, cancellationToken).GetAsyncEnumerator(cancellationToken);
            while (await NextAsync(events, cancellationToken) is { } happened)
            {
                if (!string.IsNullOrEmpty(happened.EventId)) _heard = happened.EventId;
                var committed = RoundOf(happened);
                state = happened.EventType switch
                {
                    FeedEvents.State => ControlClient.Read<RunState>(happened.Data),
                    FeedEvents.Snapshot => ControlClient.Read<RunView>(happened.Data).State,
                    FeedEvents.Ping when state?.Hold is not null => await StateAsync(cancellationToken), // how long it lasts
                    FeedEvents.Round => state,
                    _ => null,
                } ?? state;
                if (state is null || happened.EventType == FeedEvents.Clients) continue;
                committed = Math.Max(committed, state.Committed ?? -1);
                var rounds = committed > lastRound() ? await RoundsAsync(lastRound(), cancellationToken) : [];
                if (happened.EventType == FeedEvents.Round && rounds.Count == 0) continue;
                Stale(state);
                yield return SnapshotOf(state) with { NewRounds = rounds };
                if (state.Status != JobStatus.Running) yield break;
            }

            await Task.Delay(Pause, cancellationToken);
        }
    }

    // The next event; null where the stream has ended, or was cut.
    private async Task<SseItem<string>?> NextAsync(
        IAsyncEnumerator<SseItem<string>> events, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        try
        {
            if (!await events.MoveNextAsync()) return null;
            Answered();
            return events.Current;
        }
        catch (NoAnswerException e) when (_answered is not null)
        {
            Lost(e);
            return null;
        }
    }

    private async Task<RunState> StateAsync(CancellationToken cancellationToken) =>
        (await PatientlyAsync(() => silos.GetAsync<RunView>(ControlClient.Run(run), cancellationToken), cancellationToken)).State;

    private Task<List<RoundSummary>> RoundsAsync(int after, CancellationToken cancellationToken) => PatientlyAsync(async () =>
    {
        var rounds = new List<RoundSummary>();
        await foreach (var round in silos.RoundsAsync(run, after, cancellationToken)) rounds.Add(round);
        return rounds;
    }, cancellationToken);

    private async Task<T> PatientlyAsync<T>(Func<Task<T>> ask, CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                var answer = await ask();
                Answered();
                return answer;
            }
            catch (NoAnswerException e) when (_answered is not null)
            {
                Lost(e);
            }

            await Task.Delay(Pause, cancellationToken);
        }
    }

    private void Answered() => (_answered, _isSaid) = (Stopwatch.GetTimestamp(), false);

    // Another silo takes over what was lost, within seconds.
    private void Lost(NoAnswerException e)
    {
        var silent = Stopwatch.GetElapsedTime(_answered!.Value);
        if (silent > silos.Patience.Watching)
            throw new NoAnswerException(
                string.Create(CultureInfo.InvariantCulture, $"No silo has answered for {silent.TotalSeconds:F0} s"), e);
        if (silent < Moment || _isSaid) return;
        unanswered($"no silo answers for run {run}; asking again for {silos.Patience.Watching.TotalSeconds:F0} s");
        _isSaid = true;
    }

    private void Stale(RunState state)
    {
        if (state.StaleReason is { } why && !_isSaid) unanswered($"run {run}: {ControlErrors.Line(why)}");
        _isSaid = state.StaleReason is not null;
    }

    private static int RoundOf(SseItem<string> happened) =>
        happened.EventType == FeedEvents.Round && RunPosition.TryParse(happened.EventId, out var position) ? position.Round : -1;

    private RunSnapshot SnapshotOf(RunState state) => new()
    {
        Run = run, Name = state.Name, Status = state.Status, Reason = state.Reason, Rounds = state.Rounds, Round = state.Round,
        Attempt = state.Attempt, Phase = state.Phase, Reported = state.Reported, Cohort = state.Cohort, Hold = state.Hold,
        Missing = state.Missing,
    };
}

using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// All that a coordinator knows of time: what is armed, when the open attempt's work was sent, how long a round took, since when a job is
/// stopped. It counts within one activation, but for the time of a stop, which is persisted.
/// </summary>
internal sealed class RoundClock(IGrainBase grain, EventQueue events, GrainSettings settings, TimeProvider time)
{
    private static readonly (int Round, int Attempt) Nothing = (-1, -1);
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(1);
    private readonly List<IGrainTimer> _armed = []; // of the attempt that is open
    private IGrainTimer? _askingAgain;
    private (DateTimeOffset At, long Timestamp)? _roundStarted;
    private (int Round, int Attempt) _sent = Nothing; // whose training was first sent by this activation, and when
    private long _sentAt;
    private (int Round, int Attempt) _scoring = Nothing; // whose scoring was first sent by this activation, and when
    private long _scoringAt;
    private (int Round, int Attempt) _inherited = Nothing; // nobody knows when its work was sent
    private DateTimeOffset? _deadlineAt;

    /// <summary>When the job stopped; null while it runs.</summary>
    public DateTimeOffset? StoppedAt { get; private set; }

    /// <summary>How long the job has been stopped.</summary>
    public TimeSpan? Stopped => time.GetUtcNow() - StoppedAt;

    /// <summary>How long until the deadline; null without one.</summary>
    public TimeSpan? Left => _deadlineAt - time.GetUtcNow();

    /// <summary>Goes on with what an earlier activation, or the store, says of the job.</summary>
    public void Inherit(JobMemory memory)
    {
        StoppedAt = memory.StoppedAt;
        _inherited = (memory.State.Round, memory.State.Attempt);
    }

    /// <summary>Looks at the job now and then, until the activation ends.</summary>
    public void EveryTick(Action tick) => grain.RegisterGrainTimer(
        static (tick, _) =>
        {
            tick();
            return Task.CompletedTask;
        },
        tick, new GrainTimerCreationOptions(settings.ResendAfter, settings.ResendAfter) { Interleave = true });

    /// <summary>Now.</summary>
    public (DateTimeOffset At, long Timestamp) Now => (time.GetUtcNow(), time.GetTimestamp());

    /// <summary>A round was opened, or taken up; only the first time counts.</summary>
    public void Begin((DateTimeOffset At, long Timestamp) now) => _roundStarted ??= now;

    /// <summary>Work of a phase is being sent; only the first time counts.</summary>
    public void Sending(RoundState state, RoundPhase phase)
    {
        var open = (state.Round, state.Attempt);
        Begin(Now);
        if (_inherited == open) return;
        if (phase == RoundPhase.Train && _sent != open) (_sent, _sentAt) = (open, time.GetTimestamp());
        if (phase == RoundPhase.Evaluate && _scoring != open) (_scoring, _scoringAt) = (open, time.GetTimestamp());
    }

    /// <summary>How long ago the open attempt's training, or its scoring, was first sent; null where that is not known.</summary>
    public TimeSpan? SinceSent(RoundState state, RoundPhase phase = RoundPhase.Train)
    {
        var (sent, at) = phase == RoundPhase.Train ? (_sent, _sentAt) : (_scoring, _scoringAt);
        return sent == (state.Round, state.Attempt) ? time.GetElapsedTime(at) : null;
    }

    /// <summary>When the open round began and how long it took; zero and now where it was not opened here.</summary>
    public (DateTimeOffset At, double Seconds) EndRound()
    {
        var (at, seconds) = _roundStarted is { } start
            ? (start.At, time.GetElapsedTime(start.Timestamp).TotalSeconds)
            : (time.GetUtcNow(), 0);
        _roundStarted = null;
        return (at, seconds);
    }

    /// <summary>Arms a deadline in place of whatever is armed.</summary>
    public void Arm(RoundEffect.ArmDeadline deadline)
    {
        Disarm();
        _deadlineAt = time.GetUtcNow() + deadline.After;
        PostAfter(deadline.After, new RoundEvent.DeadlinePassed(deadline.Round, deadline.Attempt, deadline.Phase));
    }

    /// <summary>Arms a time budget beside what is armed.</summary>
    public void Arm(RoundEffect.ArmBudget budget) =>
        PostAfter(budget.After, new RoundEvent.BudgetPassed(budget.Round, budget.Attempt, budget.Seconds, budget.Confirmation));

    /// <summary>Forgets what is armed.</summary>
    public void Disarm()
    {
        foreach (var timer in _armed) timer.Dispose();
        _armed.Clear();
        _deadlineAt = null;
    }

    /// <summary>
    /// Forgets what is armed and when work was sent, which both count from there: not over a pause.
    /// </summary>
    public void Stop(RoundState state)
    {
        Disarm();
        (_sent, _scoring, _inherited) = (Nothing, Nothing, (state.Round, state.Attempt));
    }

    /// <summary>Whether the job is stopped from now on, where it was not before.</summary>
    public void UpdateStop(bool isStopped) => StoppedAt = isStopped ? StoppedAt ?? time.GetUtcNow() : null;

    /// <summary>The job is stopped from now on, whatever was before.</summary>
    public void StoppedNow() => StoppedAt = time.GetUtcNow();

    /// <summary>
    /// Asks soon again. One question at a time, however many sites and ticks ask for it: or each would keep another one going.
    /// </summary>
    public void AskAgainSoon() => _askingAgain ??= grain.RegisterGrainTimer(
        static (clock, _) =>
        {
            clock._askingAgain?.Dispose();
            clock._askingAgain = null;
            clock.Post(new RoundEvent.ResendDue());
            return Task.CompletedTask;
        },
        this, Once(AskAgainAfter));

    private void Post(RoundEvent happened) => events.Post(happened);

    private void PostAfter(TimeSpan after, RoundEvent happened) => _armed.Add(grain.RegisterGrainTimer(
        static (armed, _) =>
        {
            armed.Clock.Post(armed.Happened);
            return Task.CompletedTask;
        },
        (Clock: this, Happened: happened), Once(after)));

    private static GrainTimerCreationOptions Once(TimeSpan after) =>
        new(after, Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true };
}

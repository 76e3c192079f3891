using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>
/// Something to do, in the order given. Every effect may be repeated after a crash, so each must be idempotent. A
/// <see cref="Persist"/> is always the first and there is at most one.
/// </summary>
public abstract record RoundEffect
{
    private RoundEffect()
    {
    }

    /// <summary>Write the new state before anything else is done.</summary>
    /// <param name="CanWait">Whether the write may wait for the next one: what it would save, the silent report again.</param>
    public sealed record Persist(bool CanWait = false) : RoundEffect;

    /// <summary>Send these clients, in ordinal order, the work of the phase.</summary>
    public sealed record SendAssignments(RoundPhase Phase, IReadOnlyList<string> Clients) : RoundEffect;

    /// <summary>Report <see cref="RoundEvent.DeadlinePassed"/> with these values after this time.</summary>
    public sealed record ArmDeadline(TimeSpan After, int Round, int Attempt, RoundPhase Phase) : RoundEffect;

    /// <summary>Report <see cref="RoundEvent.BudgetPassed"/> with these values after this time.</summary>
    public sealed record ArmBudget(TimeSpan After, int Round, int Attempt, double Seconds, int Confirmation = 0) : RoundEffect;

    /// <summary>
    /// Ask these sites, in ordinal order, whether all is there that their clients reported, and report
    /// <see cref="RoundEvent.SiteConfirmed"/> with the state's <see cref="RoundState.Confirmation"/>.
    /// </summary>
    public sealed record ConfirmSites(IReadOnlyList<string> Sites) : RoundEffect;

    /// <summary>
    /// Aggregate the updates of these clients, in this order, and report <see cref="RoundEvent.Aggregated"/> or
    /// <see cref="RoundEvent.AggregationRefused"/>. In round 0 there are none: the initial shared state is the candidate.
    /// </summary>
    public sealed record CloseAndAggregate(IReadOnlyList<string> Closed) : RoundEffect;

    /// <summary>
    /// Write the manifest, then <c>current.json</c>, and report <see cref="RoundEvent.Committed"/> or
    /// <see cref="RoundEvent.CommitConflict"/>.
    /// </summary>
    public sealed record CommitRound : RoundEffect;

    /// <summary>Every round is committed: export and end.</summary>
    public sealed record FinishJob : RoundEffect;

    /// <summary>The job stops; everything committed is kept.</summary>
    public sealed record FailJob(string Reason) : RoundEffect;

    /// <summary>Abandon what runs at every site.</summary>
    public sealed record StopWork : RoundEffect;

    /// <summary>Forget everything in memory without writing; the next activation reads the truth.</summary>
    public sealed record Deactivate : RoundEffect;
}

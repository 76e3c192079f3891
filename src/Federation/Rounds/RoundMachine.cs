using System.Collections.Immutable;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Faults;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Selection;
using Step = (
    FedRLora.Federation.Rounds.RoundState State,
    System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

/// <summary>
/// The rounds of one job as a function: state and event give state and effects. No clock, no I/O, no memory of its own.
/// Round 0 scores the start; each later round trains a cohort, has its sites confirm, closes it, aggregates, scores and commits. The
/// effects are performed in their order; whatever was lost in a crash comes again after <see cref="RoundEvent.Started"/>.
/// </summary>
public sealed partial class RoundMachine
{
    private static readonly ImmutableDictionary<string, CarriedWork> NothingCarried = ImmutableDictionary<string, CarriedWork>.Empty;

    private static readonly ImmutableDictionary<string, int> NoCounts = ImmutableDictionary<string, int>.Empty;

    private static readonly ImmutableDictionary<string, LostFiles> NothingLost = ImmutableDictionary<string, LostFiles>.Empty;

    private static readonly ImmutableDictionary<string, ClientStanding> NoStandings = ImmutableDictionary<string, ClientStanding>.Empty;

    private readonly FederationPlan _plan;
    private readonly IClientSelector _selector;
    private readonly FaultSchedule _faults;
    private readonly Dictionary<string, ClientInfo> _clients;
    private readonly string[] _scorers;
    private readonly SortedDictionary<string, string[]> _sites;   // their clients, in ordinal order

    /// <summary>The machine of a job.</summary>
    /// <param name="plan">A valid plan.</param>
    public RoundMachine(FederationPlan plan)
    {
        _plan = plan;
        _selector = StrategyRegistry.Selector(plan);
        _faults = new FaultSchedule(plan);
        Groups = TaskGroups.Of(plan);
        _clients = plan.Clients.ToDictionary(static client => client.Id, ClientInfo.Of, StringComparer.Ordinal);
        var sites = _clients.Values.GroupBy(static client => client.Site, StringComparer.Ordinal).ToDictionary(
            static site => site.Key, static site => Sorted(site.Select(static client => client.Id)), StringComparer.Ordinal);
        _sites = new(sites, StringComparer.Ordinal);
        _scorers = plan.Clients.Where(static client => client.Data.Test is not null).Select(static client => client.Id)
            .Order(StringComparer.Ordinal).ToArray();
    }

    /// <summary>The clients that aggregate some tensors among themselves.</summary>
    public TaskGroups Groups { get; }

    /// <summary>What follows from an event.</summary>
    public Step Next(RoundState state, RoundEvent happened) => happened switch
    {
        RoundEvent.Started started => Start(state, started),
        RoundEvent.ClientReported reported => Report(state, reported.Report, reported.Seconds),
        RoundEvent.DeadlinePassed passed => Deadline(state, passed),
        RoundEvent.BudgetPassed passed => Budget(state, passed),
        RoundEvent.SiteConfirmed confirmed => Answered(state, confirmed),
        RoundEvent.SiteLost lost => Lose(state, lost.Site),
        RoundEvent.SiteReturned returned => Return(state, returned.Site),
        RoundEvent.ResendDue => Resend(state, Waiting(state)),
        RoundEvent.Aggregated aggregated => Evaluate(state, aggregated),
        RoundEvent.AggregationRefused refused => Refuse(state, refused),
        RoundEvent.AggregationImpossible impossible => GiveUp(state, impossible),
        RoundEvent.Committed committed => Commit(state, committed),
        RoundEvent.CommitConflict => (RoundState.Initial, [new RoundEffect.Deactivate()]),
        RoundEvent.Broken broken => IsOver(state) ? Nothing(state) : Fail(state, broken.Reason),
        RoundEvent.Cancelled =>
            IsOver(state) && state.Phase != Phase.Paused
                ? Nothing(state)
                : Then(state with { Phase = Phase.Cancelled, Reason = null }, new RoundEffect.StopWork()),
        RoundEvent.Paused paused => Pause(state, paused.Reason),
        _ => throw new ArgumentException($"{happened.GetType().Name} is no event of a round.", nameof(happened)),
    };

    /// <summary>What follows from several events in order, with one write at most.</summary>
    public Step Next(RoundState state, IEnumerable<RoundEvent> happened)
    {
        var effects = new List<RoundEffect>();
        RoundEffect.Persist? persist = null;
        foreach (var one in happened)
        {
            (state, var more) = Next(state, one);
            foreach (var effect in more)
            {
                if (effect is RoundEffect.Persist write)
                    persist = new RoundEffect.Persist(write.CanWait && persist is not { CanWait: false });
                else
                    effects.Add(effect);
            }
        }
        return persist is null ? (state, effects) : (state, [persist, .. effects]);
    }

    /// <summary>What remains of a state where the plan was extended: the open round begins again, under the next attempt.</summary>
    public static RoundState Reopened(RoundState state) => Emptied(state) with
    {
        Missed = null,
        Phase = state.Phase is Phase.Failed or Phase.Cancelled or Phase.Paused ? state.Phase : Phase.Idle,
    };

    /// <summary>The clients that the current phase waits for, in ordinal order.</summary>
    public IReadOnlyList<string> Waiting(RoundState state) => state.Phase switch
    {
        Phase.Training => state.Cohort.Where(client => !state.Reports.ContainsKey(client) && !Contains(state.Dropped, client)).ToArray(),
        Phase.Evaluating => _scorers.Where(client => !state.Scores.ContainsKey(client) && !Contains(state.Dropped, client)).ToArray(),
        Phase.Confirming => Usable(state).Where(client => !Contains(state.Confirmed, _clients[client].Site)).ToArray(),
        _ => Array.Empty<string>(),
    };

    /// <summary>How many clients have reported in the current phase, and of how many.</summary>
    public (int Reported, int Of) Progress(RoundState state) => state.Phase switch
    {
        Phase.Evaluating => (state.Scores.Count, _scorers.Length),
        Phase.Confirming => (UsableCount(state) - Waiting(state).Count, UsableCount(state)),
        _ => (state.Reports.Count, state.Cohort.Count),
    };

    /// <summary>Whether a round is scored: the start, every <c>EveryRounds</c>-th and the last.</summary>
    public bool IsScored(int round) =>
        round == 0 || round == _plan.Strategy.Rounds || round % Math.Max(1, _plan.Evaluation.EveryRounds) == 0;

    /// <summary>Usable updates that are needed where so many are wanted.</summary>
    public int Quorum(int wanted) => Math.Max(1, (int)Math.Ceiling((_plan.Strategy.Quorum * wanted) - 1e-9));

    /// <summary>
    /// Usable updates of a task's clients without which its state stays as it was; one in buffered rounds, which close with what has come.
    /// </summary>
    public int QuorumOf(RoundState state, string task) => state.WantedOf.TryGetValue(task, out var wanted) ? Quorum(wanted) : 1;

    // Start, crash, resume.

    private Step Start(RoundState state, RoundEvent.Started started)
    {
        var known = Adopt(state, started);
        if (known.Committed >= _plan.Strategy.Rounds)
            return Finish(known);
        if (started.Resume && known.Phase == Phase.Failed)
            // Whoever resumes a failed job gives everyone another chance.
            known = known with { Standings = NoStandings, Scores = ImmutableDictionary<string, KeptScore>.Empty };
        if (!started.Resume && known.Phase == Phase.Failed)
            return Then(known, new RoundEffect.StopWork(), new RoundEffect.FailJob(known.Reason ?? ""));
        if (!started.Resume && known.Phase is Phase.Cancelled or Phase.Paused)
            return Then(known, new RoundEffect.StopWork());
        if (known.Cohort.Count == 0 && known.Closed is null)
            return OpenAttempt(known with { Tries = 0, Missed = null });
        return Continue(known with
        {
            Phase = OpenPhase(known),
            Reason = null,
            Confirmed = Array.Empty<string>(),
            Overdue = known.Overdue && known.Phase == Phase.Confirming,
        });
    }

    /// <summary>current.json is the truth; what is remembered of a round that is not the next one is dropped.</summary>
    private RoundState Adopt(RoundState state, RoundEvent.Started started)
    {
        var lost = _plan.Strategy.SiteLoss == SiteLoss.Continue ? Sorted(started.LostSites) : Array.Empty<string>();
        var isNext = state.Round == started.LastRound + 1 && state.Committed == started.LastRound
            && string.Equals(state.CommittedSha256, started.LastSha256, StringComparison.Ordinal);
        var open = isNext
            ? state
            : Opened(state, started.LastRound, started.LastSha256) with { Standings = started.Standings ?? state.Standings };
        return open with { LostSites = lost, Versions = started.Versions ?? open.Versions };
    }

    private RoundState Opened(RoundState state, int committed, string? sha256) => Emptied(state) with
    {
        Carried = CarriedAfter(state, committed),
        Committed = committed,
        CommittedSha256 = sha256,
        Round = committed + 1,
        Attempt = 0,
        Tries = 0,
        Missed = null,
        Phase = state.Phase is Phase.Failed or Phase.Cancelled or Phase.Paused ? state.Phase : Phase.Idle,
    };

    private static RoundState Emptied(RoundState state) => state with
    {
        Cohort = Array.Empty<string>(),
        Wanted = 0,
        WantedOf = NoCounts,
        PassedSeconds = 0,
        Reports = ImmutableDictionary<string, KeptReport>.Empty,
        Failures = 0,
        Closed = null,
        Candidate = null,
        Scores = ImmutableDictionary<string, KeptScore>.Empty,
        Dropped = Array.Empty<string>(),
        Confirmation = 0,
        Confirmed = Array.Empty<string>(),
        Lost = NothingLost,
        Overdue = false,
    };

    /// <summary>A cancelled, failed or paused job goes on where it was stopped.</summary>
    private Phase OpenPhase(RoundState state) => state switch
    {
        { Phase: Phase.Training or Phase.Confirming or Phase.Aggregating or Phase.Evaluating or Phase.Committing } => state.Phase,
        { Closed: null } => Phase.Training,
        { Candidate: null } => Phase.Aggregating,
        _ => IsScored(state.Round) ? Phase.Evaluating : Phase.Committing,
    };

    private Step Continue(RoundState state) => state.Phase switch
    {
        Phase.Training or Phase.Evaluating => Settle(state.LostSites.Aggregate(state, Drop), resend: true),
        Phase.Confirming => Confirm(state, timed: false),
        Phase.Aggregating => Then(state, new RoundEffect.CloseAndAggregate(state.Closed!)),
        _ => Then(state, new RoundEffect.CommitRound()),
    };

    // Small parts.

    private Step Resend(RoundState state, IReadOnlyList<string> clients)
    {
        if (clients.Count == 0)
            return Nothing(state);
        return (state, [state.Phase == Phase.Confirming
            ? new RoundEffect.ConfirmSites(SitesOf(clients))
            : new RoundEffect.SendAssignments(AskedIn(state.Phase), clients)]);
    }

    private RoundEffect[] Work(RoundState state, IReadOnlyList<string> clients)
    {
        var phase = AskedIn(state.Phase);
        var send = new RoundEffect.SendAssignments(phase, clients);
        RoundEffect[] timers = phase == RoundPhase.Train ? NextBudget(state, 0) : [];
        return [send, .. DeadlineOf(state, phase), .. timers];
    }

    private RoundEffect[] DeadlineOf(RoundState state, RoundPhase phase) =>
        _plan.Strategy.Deadline is { } after ? [new RoundEffect.ArmDeadline(after, state.Round, state.Attempt, phase)] : [];

    private static RoundPhase AskedIn(Phase phase) => phase == Phase.Evaluating ? RoundPhase.Evaluate : RoundPhase.Train;

    private static Step Then(RoundState state, params RoundEffect[] effects) => (state, [new RoundEffect.Persist(), .. effects]);

    private static Step Nothing(RoundState state) => (state, []);

    private static bool IsOver(RoundState state) => state.Phase is Phase.Finished or Phase.Failed or Phase.Cancelled or Phase.Paused;

    private static string[] Usable(RoundState state) => state.Cohort.Where(client => IsUsable(state, client)).ToArray();

    private static bool IsUsable(RoundState state, string client) =>
        state.Reports.TryGetValue(client, out var report) && report.Failure is null;

    private static int UsableCount(RoundState state) => state.Reports.Count - state.Failures;

    private RoundState WithReport(RoundState state, string client, KeptReport report) =>
        (report.Refused ? WithRefusals(state, [client]) : state) with
    {
        Reports = state.Reports.Add(client, report),
        Failures = state.Failures + (report.Failure is null ? 0 : 1),
    };

    private bool IsBuffered => _plan.Strategy.Trigger.Rule == TriggerRule.Buffered;

    /// <summary>Usable updates that close the round at once.</summary>
    private static int Wanted(RoundState state) => state.Wanted > 0 ? state.Wanted : state.Cohort.Count;

    /// <summary>
    /// Whether there are as many usable updates as the selection asked for, also of each task, or all that it can still have.
    /// </summary>
    private bool HasWanted(RoundState state) =>
        UsableCount(state) >= Wanted(state)
        && state.WantedOf.All(task => Groups.Members[task.Key].Count(client => IsUsable(state, client))
            >= Math.Min(task.Value, AttainableOf(state, task.Key)));

    /// <summary>Usable updates without which the round does not count.</summary>
    private int Needed(RoundState state) => Quorum(Wanted(state));

    private static string[] Sorted(IEnumerable<string> names) =>
        names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();

    private static bool Contains(IReadOnlyList<string> sorted, string name)
    {
        var (low, high) = (0, sorted.Count - 1);
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var order = string.CompareOrdinal(sorted[middle], name);
            if (order == 0)
                return true;
            (low, high) = order < 0 ? (middle + 1, high) : (low, middle - 1);
        }
        return false;
    }
}

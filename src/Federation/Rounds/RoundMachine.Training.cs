using System.Collections.Immutable;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Selection;
using Step = (
    FedRLora.Federation.Rounds.RoundState State,
    System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

// From an open attempt to a cohort that can be closed, or to the next try.
public sealed partial class RoundMachine
{
    /// <summary>Opens the next try; round 0 has nothing to train.</summary>
    private Step OpenAttempt(RoundState state)
    {
        var open = Kept(state) with { Attempt = state.Attempt + 1, Tries = state.Tries + 1, Phase = Phase.Training, Reason = null };
        if (open.Round == 0)
            return Close(open, Array.Empty<string>());

        var available = Available(open);
        if (available.Length == 0)
            return Fail(open, $"Round {open.Round} has nobody to select: every client is absent or in quarantine.");
        var random = new SplitMix64(
            Seed.For(_plan.Seed, open.Round, "", string.Create(CultureInfo.InvariantCulture, $"selection/{open.Attempt}")));
        return Settle(IsBuffered ? WithCarried(open, available, random) : Selected(open, available, random), resend: true);
    }

    /// <summary>A synchronous round that is tried again begins afresh; a buffered one keeps what has come and who is at work.</summary>
    private RoundState Kept(RoundState state)
    {
        if (!IsBuffered || state.Attempt == 0)
            return Emptied(state) with { Carried = state.Attempt == 0 ? state.Carried : NothingCarried };
        var usable = state.Reports.Where(static report => report.Value.Failure is null).ToImmutableDictionary(StringComparer.Ordinal);
        var atWork = state.Cohort.Where(client =>
            usable.ContainsKey(client) || (!state.Reports.ContainsKey(client) && !Contains(state.Dropped, client)));
        return Emptied(state) with
        {
            Carried = atWork.ToImmutableDictionary(static client => client, client => WorkOf(state, client), StringComparer.Ordinal),
            Reports = usable,
        };
    }

    /// <summary>
    /// As many as are wanted, in the order of the draw; then as many more as each group of them may have, from the same group.
    /// </summary>
    private RoundState Selected(RoundState state, ClientInfo[] available, SplitMix64 random)
    {
        const string Everyone = "";
        var (order, wanted) = (_selector.Draw(available, random), _selector.Wanted(available.Length));
        var counts = order.Take(wanted).CountBy(client => Groups.Of(client) ?? Everyone).ToDictionary(StringComparer.Ordinal);
        var spare = counts.ToDictionary(static group => group.Key, group => Asked(group.Value) - group.Value, StringComparer.Ordinal);
        var more = order.Skip(wanted).Where(client => spare.ContainsKey(Groups.Of(client) ?? Everyone)
            && spare[Groups.Of(client) ?? Everyone]-- > 0);
        counts.Remove(Everyone);
        return state with
        {
            Cohort = Sorted(order.Take(wanted).Concat(more)), Wanted = wanted,
            WantedOf = counts.ToImmutableDictionary(StringComparer.Ordinal),
        };
    }

    private int Asked(int wanted) => (int)Math.Ceiling((wanted * _plan.Strategy.Selection.Overselect) - 1e-9);

    /// <summary>Who is at work stays, idle clients are drawn beside them.</summary>
    private RoundState WithCarried(RoundState state, ClientInfo[] available, SplitMix64 random)
    {
        var trigger = _plan.Strategy.Trigger;
        var idle = available.Where(client => !state.Carried.ContainsKey(client.Id)).ToArray();
        var places = Math.Max(0, (trigger.Concurrency ?? _clients.Count) - state.Carried.Count);
        var drawn = new UniformClients(1).Draw(idle, random).Take(places);
        var cohort = Sorted(state.Carried.Keys.Concat(drawn));
        return state with { Cohort = cohort, Wanted = Math.Min(trigger.BufferSize, cohort.Length) };
    }

    /// <summary>Work that goes on after a commit: who has neither reported nor is too old or at a lost site.</summary>
    private ImmutableDictionary<string, CarriedWork> CarriedAfter(RoundState state, int committed)
    {
        if (!IsBuffered || committed != state.Round)
            return NothingCarried;
        var oldest = _plan.Strategy.Trigger.MaxStaleness is { } most ? committed + 1 - most : 0;
        return state.Cohort
            .Where(client =>
                !state.Reports.ContainsKey(client) && state.WorkOf(client).Round >= oldest
                    && !Contains(state.LostSites, _clients[client].Site))
            .ToImmutableDictionary(static client => client, client => WorkOf(state, client), StringComparer.Ordinal);
    }

    // With the version of its task's state that it began from, before that moves.
    private CarriedWork WorkOf(RoundState state, string client) => state.Carried.GetValueOrDefault(client)
        ?? new(state.Round, state.Attempt, Groups.Of(client) is { } task ? state.Versions.GetValueOrDefault(task) : 0);

    /// <summary>
    /// Clients that are there and not left out, of living sites; of all sites where none lives, since then there is nothing to do but
    /// wait.
    /// </summary>
    private ClientInfo[] Available(RoundState state)
    {
        var admitted = _clients.Values.Where(client => !IsQuarantined(state, client.Id) && !_faults.IsAbsent(client.Id, state.Round))
            .ToArray();
        var alive = admitted.Where(client => !Contains(state.LostSites, client.Site)).ToArray();
        return alive.Length > 0 ? alive : admitted;
    }

    private Step Report(RoundState state, ClientReport report, double? seconds)
    {
        if (!_clients.TryGetValue(report.ClientId, out var client) || Contains(state.Dropped, client.Id))
            return Nothing(state);
        var work = report.Phase == RoundPhase.Train ? state.WorkOf(client.Id) : new CarriedWork(state.Round, state.Attempt);
        if ((report.Round, report.Attempt) != (work.Round, work.Attempt))
            return Nothing(state);

        switch (report.Phase, state.Phase)
        {
            case (RoundPhase.Train, Phase.Training) when Contains(state.Cohort, client.Id) && !state.Reports.ContainsKey(client.Id):
                if (report.StoreTrouble is { } trouble)
                    return Pause(state, $"{client.Id}: {trouble}");
                var learned = Learned(state, client.Id, seconds, report.Numbers?.WaitedSeconds ?? 0);
                return Settle(WithoutSlow(WithReport(learned, client.Id, KeptReports.Trained(report))), resend: false);
            case (RoundPhase.Evaluate, Phase.Evaluating) when client.HasTestRows && !state.Scores.ContainsKey(client.Id):
                return report.StoreTrouble is { } away
                    ? Pause(state, $"{client.Id}: {away}")
                    : Settle(state with { Scores = state.Scores.Add(client.Id, KeptReports.Scored(report)) }, resend: false);
            default:
                return Nothing(state);
        }
    }

    /// <summary>Ends the phase if nobody is left to wait for, if enough have reported, or if the quorum is out of reach.</summary>
    private Step Settle(RoundState state, bool resend)
    {
        if (state.Phase == Phase.Evaluating)
            return state.Scores.Count + state.Dropped.Count == _scorers.Length ? ToCommit(state) : Wait(state, resend);

        var usable = UsableCount(state);
        var silent = state.Cohort.Count - state.Reports.Count - state.Dropped.Count;
        if (usable + silent < Needed(state))
            return TryAgain(state, usable);
        return silent == 0 || HasWanted(state) ? Confirm(state, timed: !resend) : Wait(state, resend);
    }

    private Step Wait(RoundState state, bool resend) => resend
        ? Then(state, Work(state, Waiting(state)))
        : (state, [new RoundEffect.Persist(CanWait: true)]);

    private Step Deadline(RoundState state, RoundEvent.DeadlinePassed passed)
    {
        if (passed.Round != state.Round || passed.Attempt != state.Attempt)
            return Nothing(state);
        switch (passed.Phase, state.Phase)
        {
            case (RoundPhase.Evaluate, Phase.Evaluating):
                return ToCommit(state);
            case (RoundPhase.Train, Phase.Training):
                var usable = UsableCount(state);
                return usable >= Needed(state)
                    ? Confirm(state with { Overdue = true }, timed: false)
                    : TryAgain(state, usable, overdue: true);
            case (RoundPhase.Train, Phase.Confirming):
                return ConfirmationDue(state);
            default:
                return Nothing(state);
        }
    }

    private Step TryAgain(RoundState state, int usable, bool overdue = false)
    {
        var missed = MissedBy(state, usable, overdue || state.Overdue);
        if (state.Tries < _plan.Strategy.MaxAttempts)
            return OpenAttempt(state with { Missed = missed });

        var rest = (missed.SilentCount, missed.AtWork) switch
        {
            ( > 0 and var silent, _) => string.Create(CultureInfo.InvariantCulture, $"; {silent} silent"),
            (_, > 0 and var atWork) => string.Create(CultureInfo.InvariantCulture, $"; {atWork} still at work"),
            _ => "",
        };
        var reason = string.Create(CultureInfo.InvariantCulture,
            $"Round {state.Round} had {usable} usable of {missed.Of} updates in try {state.Tries} of {_plan.Strategy.MaxAttempts}, "
            + $"the quorum is {missed.Needed}{rest}. {string.Join("; ", missed.Failures)}");
        return Fail(Emptied(state) with { Missed = missed }, reason.TrimEnd());
    }

    /// <summary>Nobody is silent who had no deadline to miss: where others fail, the rest are at work.</summary>
    private MissedTry MissedBy(RoundState state, int usable, bool overdue)
    {
        const int Shown = 3;
        var failed = state.Reports.Where(static report => report.Value.Failure is not null)
            .OrderBy(static report => report.Key, StringComparer.Ordinal)
            .Select(static report => $"{report.Key}: {report.Value.Failure}");
        var lost = state.Lost.Where(client => !state.Reports.ContainsKey(client.Key))
            .OrderBy(static client => client.Key, StringComparer.Ordinal)
            .Select(static client => $"{client.Key}: {client.Value.What}");
        var rest = state.Cohort.Where(client => !state.Reports.ContainsKey(client)).ToArray();
        return new()
        {
            Usable = usable,
            Of = state.Cohort.Count,
            Needed = Needed(state),
            Failures = failed.Concat(lost).Take(Shown).ToArray(),
            Silent = overdue ? rest.Take(Shown).ToArray() : Array.Empty<string>(),
            SilentCount = overdue ? rest.Length : 0,
            AtWork = overdue ? 0 : rest.Length,
        };
    }

    // Time budgets.

    // From when its work was sent: what it may take, and beside that what it usually waits for the device, which is no slowness of its own.
    private double? BudgetOf(RoundState state, string client) =>
        _plan.Strategy.TimeBudget is { } budget && state.UsualSeconds.TryGetValue(client, out var usual)
        ? Math.Max(budget.AtLeast.TotalSeconds, budget.Factor * usual) + state.UsualWaits.GetValueOrDefault(client)
        : null;

    private Step Budget(RoundState state, RoundEvent.BudgetPassed passed)
    {
        if ((passed.Round, passed.Attempt) != (state.Round, state.Attempt))
            return Nothing(state);
        if (passed.Confirmation > 0)
            return ConfirmationBudget(state, passed);
        if (state.Phase != Phase.Training || passed.Seconds <= state.PassedSeconds)
            return Nothing(state);
        var (settled, effects) = Settle(WithoutSlow(state with { PassedSeconds = passed.Seconds }), resend: false);
        return settled.Phase == Phase.Training && settled.Attempt == state.Attempt
            ? (settled, [.. effects, .. NextBudget(settled, passed.Seconds)])
            : (settled, effects);
    }

    /// <summary>
    /// The silent whose time is up leave the round, as many as the quorum can do without and the most overdue first; what they
    /// needed at least is learned. Others may go when more reports have come.
    /// </summary>
    private RoundState WithoutSlow(RoundState state)
    {
        if (state.PassedSeconds <= 0)
            return state;
        var slow = Slow(state, state.PassedSeconds, UsableCount(state) + Waiting(state).Count - Needed(state));
        return slow.Length == 0 ? state : state with
        {
            Dropped = Sorted(state.Dropped.Concat(slow.Select(static one => one.Client))),
            UsualSeconds = state.UsualSeconds.SetItems(slow.Select(one =>
                KeyValuePair.Create(one.Client, one.Budget!.Value - state.UsualWaits.GetValueOrDefault(one.Client)))),
        };
    }

    private (string Client, double? Budget)[] Slow(RoundState state, double passed, int most)
    {
        // Nor more of a task than its own quorum can do without: a slow site's task would never move.
        var spare = state.WantedOf.Keys.ToDictionary(
            static task => task, task => AttainableOf(state, task) - QuorumOf(state, task), StringComparer.Ordinal);
        return Waiting(state).Select(client => (Client: client, Budget: BudgetOf(state, client))).Where(one => one.Budget <= passed)
            .OrderBy(static one => one.Budget).ThenBy(static one => one.Client, StringComparer.Ordinal)
            .Where(one => Groups.Of(one.Client) is not { } task || spare[task]-- > 0)
            .Take(Math.Max(0, most)).ToArray();
    }

    private int AttainableOf(RoundState state, string task) => Groups.Members[task].Count(client => Contains(state.Cohort, client)
        && (IsUsable(state, client)
            || (!state.Overdue && !state.Reports.ContainsKey(client) && !Contains(state.Dropped, client))));

    private RoundEffect[] NextBudget(RoundState state, double passed)
    {
        var next = Waiting(state).Select(client => BudgetOf(state, client)).Where(budget => budget > passed).Min();
        var confirmation = state.Phase == Phase.Confirming ? state.Confirmation : 0;
        return next is { } at
            ? [new RoundEffect.ArmBudget(TimeSpan.FromSeconds(at - passed), state.Round, state.Attempt, at, confirmation)]
            : [];
    }

    private RoundState Learned(RoundState state, string client, double? seconds, double waited)
    {
        if (_plan.Strategy.TimeBudget is null || seconds is not { } took || state.Lost.ContainsKey(client))
            return state;
        var wait = waited > 0 ? Math.Min(waited, took) : 0; // whatever a silo says, NaN for instance
        return state with
        {
            UsualSeconds = Averaged(state.UsualSeconds, client, took - wait),
            UsualWaits = Averaged(state.UsualWaits, client, wait),
        };
    }

    private static ImmutableDictionary<string, double> Averaged(ImmutableDictionary<string, double> usual, string client, double seconds)
    {
        const double Weight = 0.3;   // of the newest round in the moving average
        return usual.SetItem(client, usual.TryGetValue(client, out var before) ? before + (Weight * (seconds - before)) : seconds);
    }
}

using System.Collections.Immutable;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Selection;
using Step = (FedRLora.Federation.Rounds.RoundState State, System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

/// <summary>
/// The rounds of one job as a function: state and event give state and effects. No clock, no I/O, no memory of its own.
/// Round 0 scores the start; each later round trains a cohort, closes it, aggregates, scores and commits. The effects are
/// performed in their order; whatever was lost in a crash comes again after <see cref="RoundEvent.Started"/>.
/// </summary>
public sealed class RoundMachine
{
    private const int ReasonLength = 200;

    private readonly FederationPlan _plan;
    private readonly IClientSelector _selector;
    private readonly Dictionary<string, ClientInfo> _clients;
    private readonly string[] _scorers;

    /// <summary>The machine of a job.</summary>
    /// <param name="plan">A valid plan.</param>
    public RoundMachine(FederationPlan plan)
    {
        _plan = plan;
        _selector = StrategyRegistry.Selector(plan);
        _clients = plan.Clients.ToDictionary(static client => client.Id, ClientInfo.Of, StringComparer.Ordinal);
        _scorers = plan.Clients.Where(static client => client.Data.Test is not null).Select(static client => client.Id).Order(StringComparer.Ordinal).ToArray();
    }

    /// <summary>What follows from an event.</summary>
    public Step Next(RoundState state, RoundEvent happened) => happened switch
    {
        RoundEvent.Started started => Start(state, started),
        RoundEvent.ClientReported reported => Report(state, reported.Report),
        RoundEvent.DeadlinePassed passed => Deadline(state, passed),
        RoundEvent.SiteLost lost => Lose(state, lost.Site),
        RoundEvent.SiteReturned returned => Return(state, returned.Site),
        RoundEvent.ResendDue => Resend(state, Waiting(state)),
        RoundEvent.Aggregated aggregated => Evaluate(state, aggregated),
        RoundEvent.AggregationRefused refused => Refuse(state, refused),
        RoundEvent.Committed committed => Commit(state, committed),
        RoundEvent.CommitConflict => (RoundState.Initial, [new RoundEffect.Deactivate()]),
        RoundEvent.Broken broken => IsOver(state) ? Nothing(state) : Fail(state, broken.Reason),
        RoundEvent.Cancelled => IsOver(state) ? Nothing(state) : Then(state with { Phase = Phase.Cancelled }, new RoundEffect.StopWork()),
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

    /// <summary>The clients that the current phase waits for, in ordinal order.</summary>
    public IReadOnlyList<string> Waiting(RoundState state) => state.Phase switch
    {
        Phase.Training => state.Cohort.Where(client => !state.Reports.ContainsKey(client) && !Contains(state.Dropped, client)).ToArray(),
        Phase.Evaluating => _scorers.Where(client => !state.Scores.ContainsKey(client) && !Contains(state.Dropped, client)).ToArray(),
        _ => Array.Empty<string>(),
    };

    /// <summary>How many clients have reported in the current phase, and of how many.</summary>
    public (int Reported, int Of) Progress(RoundState state) => state.Phase == Phase.Evaluating
        ? (state.Scores.Count, _scorers.Length)
        : (state.Reports.Count, state.Cohort.Count);

    /// <summary>Whether a round is scored: the start, every <c>EveryRounds</c>-th and the last.</summary>
    public bool IsScored(int round) => round == 0 || round == _plan.Strategy.Rounds || round % Math.Max(1, _plan.Evaluation.EveryRounds) == 0;

    /// <summary>Usable updates that a cohort of this size needs.</summary>
    public int Quorum(int cohort) => Math.Max(1, (int)Math.Ceiling((_plan.Strategy.Quorum * cohort) - 1e-9));

    // Start, crash, resume.

    private Step Start(RoundState state, RoundEvent.Started started)
    {
        var known = Adopt(state, started);
        if (known.Committed >= _plan.Strategy.Rounds)
            return Finish(known);
        if (!started.Resume && known.Phase == Phase.Failed)
            return Then(known, new RoundEffect.StopWork(), new RoundEffect.FailJob(known.Reason ?? ""));
        if (!started.Resume && known.Phase == Phase.Cancelled)
            return Then(known, new RoundEffect.StopWork());
        if (known.Cohort.Count == 0 && known.Closed is null)
            return OpenAttempt(known with { Tries = 0 });
        return Continue(known with { Phase = OpenPhase(known), Reason = null });
    }

    /// <summary>current.json is the truth; notes of a round that is not the next one are dropped.</summary>
    private RoundState Adopt(RoundState state, RoundEvent.Started started)
    {
        var lost = _plan.Strategy.SiteLoss == SiteLoss.Continue ? Sorted(started.LostSites) : Array.Empty<string>();
        var isNext = state.Round == started.LastRound + 1 && state.Committed == started.LastRound
            && string.Equals(state.CommittedSha256, started.LastSha256, StringComparison.Ordinal);
        var open = isNext ? state : Opened(state, started.LastRound, started.LastSha256);
        return open with { LostSites = lost };
    }

    private static RoundState Opened(RoundState state, int committed, string? sha256) => WithoutNotes(state) with
    {
        Committed = committed,
        CommittedSha256 = sha256,
        Round = committed + 1,
        Attempt = 0,
        Tries = 0,
        Phase = state.Phase is Phase.Failed or Phase.Cancelled ? state.Phase : Phase.Idle,
    };

    private static RoundState WithoutNotes(RoundState state) => state with
    {
        Cohort = Array.Empty<string>(),
        Reports = ImmutableDictionary<string, ClientNote>.Empty,
        Failures = 0,
        Closed = null,
        Candidate = null,
        Scores = ImmutableDictionary<string, ScoreNote>.Empty,
        Dropped = Array.Empty<string>(),
    };

    /// <summary>A cancelled or failed job goes on where its notes end.</summary>
    private Phase OpenPhase(RoundState state) => state switch
    {
        { Phase: Phase.Training or Phase.Aggregating or Phase.Evaluating or Phase.Committing } => state.Phase,
        { Closed: null } => Phase.Training,
        { Candidate: null } => Phase.Aggregating,
        _ => IsScored(state.Round) ? Phase.Evaluating : Phase.Committing,
    };

    private Step Continue(RoundState state) => state.Phase switch
    {
        Phase.Training or Phase.Evaluating => Settle(state.LostSites.Aggregate(state, Drop), resend: true),
        Phase.Aggregating => Then(state, new RoundEffect.CloseAndAggregate(state.Closed!)),
        _ => Then(state, new RoundEffect.CommitRound()),
    };

    // Training.

    /// <summary>Opens the next try; round 0 has nothing to train.</summary>
    private Step OpenAttempt(RoundState state)
    {
        var open = WithoutNotes(state) with { Attempt = state.Attempt + 1, Tries = state.Tries + 1, Phase = Phase.Training, Reason = null };
        if (open.Round == 0)
            return Close(open, Array.Empty<string>());

        var seed = Seed.For(_plan.Seed, open.Round, "", string.Create(CultureInfo.InvariantCulture, $"selection/{open.Attempt}"));
        open = open with { Cohort = _selector.Select(Available(open), new SplitMix64(seed)) };
        return Then(open, Work(open, open.Cohort));
    }

    /// <summary>Clients of living sites; all of them where no site lives, since then there is nothing to do but wait.</summary>
    private ClientInfo[] Available(RoundState state)
    {
        var alive = _clients.Values.Where(client => !Contains(state.LostSites, client.Site)).ToArray();
        return alive.Length > 0 ? alive : [.. _clients.Values];
    }

    private Step Report(RoundState state, ClientReport report)
    {
        if (report.Round != state.Round || report.Attempt != state.Attempt || !_clients.TryGetValue(report.ClientId, out var client) || Contains(state.Dropped, client.Id))
            return Nothing(state);

        return (report.Phase, state.Phase) switch
        {
            (RoundPhase.Train, Phase.Training) when Contains(state.Cohort, client.Id) && !state.Reports.ContainsKey(client.Id) =>
                Settle(WithReport(state, client.Id, TrainingNote(report)), resend: false),
            (RoundPhase.Evaluate, Phase.Evaluating) when client.HasTestRows && !state.Scores.ContainsKey(client.Id) =>
                Settle(state with { Scores = state.Scores.Add(client.Id, Scored(report)) }, resend: false),
            _ => Nothing(state),
        };
    }

    /// <summary>Ends the phase if nobody is left to wait for, or if the quorum is out of reach.</summary>
    private Step Settle(RoundState state, bool resend)
    {
        if (state.Phase == Phase.Evaluating)
            return state.Scores.Count + state.Dropped.Count == _scorers.Length ? ToCommit(state) : Wait(state, resend);

        var silent = state.Cohort.Count - state.Reports.Count - state.Dropped.Count;
        if (UsableCount(state) + silent < Quorum(state.Cohort.Count))
            return TryAgain(state, UsableCount(state));
        return silent == 0 ? Close(state, Usable(state)) : Wait(state, resend);
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
                return UsableCount(state) >= Quorum(state.Cohort.Count) ? Close(state, Usable(state)) : TryAgain(state, UsableCount(state));
            default:
                return Nothing(state);
        }
    }

    private Step TryAgain(RoundState state, int usable)
    {
        if (state.Tries < _plan.Strategy.MaxAttempts)
            return OpenAttempt(state);

        var failures = state.Reports.Where(static report => report.Value.Failure is not null).OrderBy(static report => report.Key, StringComparer.Ordinal)
            .Take(3).Select(static report => $"{report.Key}: {report.Value.Failure}");
        var silent = state.Cohort.Count - state.Reports.Count;
        var reason = string.Create(CultureInfo.InvariantCulture,
            $"Round {state.Round} had {usable} usable of {state.Cohort.Count} updates in try {state.Tries} of {_plan.Strategy.MaxAttempts}, the quorum is {Quorum(state.Cohort.Count)}; {silent} silent. {string.Join("; ", failures)}");
        return Fail(WithoutNotes(state), reason.TrimEnd());
    }

    // Aggregation, scoring, commit.

    private static Step Close(RoundState state, string[] closed) =>
        Then(state with { Phase = Phase.Aggregating, Closed = closed, Dropped = Array.Empty<string>() }, new RoundEffect.CloseAndAggregate(closed));

    private Step Refuse(RoundState state, RoundEvent.AggregationRefused refused)
    {
        if (state.Phase != Phase.Aggregating || refused.Round != state.Round || refused.Attempt != state.Attempt)
            return Nothing(state);
        var rest = state.Closed!.Where(client => !refused.Reasons.ContainsKey(client)).ToArray();
        if (rest.Length == state.Closed!.Count)
            return Nothing(state);

        var reports = state.Reports.SetItems(state.Closed.Except(rest).Select(client =>
            KeyValuePair.Create(client, Failed(state.Reports[client], refused.Reasons[client]))));
        var known = state with { Reports = reports, Failures = state.Failures + state.Closed.Count - rest.Length };
        return rest.Length >= Quorum(state.Cohort.Count) ? Close(known, rest) : TryAgain(known, rest.Length);
    }

    private Step Evaluate(RoundState state, RoundEvent.Aggregated aggregated)
    {
        if (state.Phase != Phase.Aggregating || aggregated.Round != state.Round || aggregated.Attempt != state.Attempt)
            return Nothing(state);
        var known = state with { Candidate = aggregated.Candidate, Phase = Phase.Evaluating, Dropped = Array.Empty<string>() };
        return IsScored(state.Round) ? Settle(known.LostSites.Aggregate(known, Drop), resend: true) : ToCommit(known);
    }

    /// <summary>A start that nobody can score is a mistake in the plan, not a round without scores.</summary>
    private Step ToCommit(RoundState state)
    {
        if (state.Round == 0 && _scorers.Length > 0 && state.Scores.Count == _scorers.Length && state.Scores.Values.All(static note => note.Failure is not null))
            return Fail(state, $"No client could be scored: {state.Scores[_scorers[0]].Failure}");
        return Committing(state);
    }

    private static Step Committing(RoundState state) => Then(state with { Phase = Phase.Committing }, new RoundEffect.CommitRound());

    /// <summary>What is committed is committed, also where the job was stopped meanwhile.</summary>
    private Step Commit(RoundState state, RoundEvent.Committed committed)
    {
        if (committed.Round != state.Committed + 1 || committed.Round != state.Round)
            return Nothing(state);
        var next = Opened(state, committed.Round, committed.Sha256);
        if (next.Committed >= _plan.Strategy.Rounds)
            return Finish(next);
        return IsOver(next) ? Then(next) : OpenAttempt(next);
    }

    private Step Finish(RoundState state) => Then(state with { Phase = Phase.Finished, Round = _plan.Strategy.Rounds, Reason = null }, new RoundEffect.FinishJob());

    private static Step Fail(RoundState state, string reason) =>
        Then(state with { Phase = Phase.Failed, Reason = reason }, new RoundEffect.StopWork(), new RoundEffect.FailJob(reason));

    // Sites.

    private Step Lose(RoundState state, string site)
    {
        if (_plan.Strategy.SiteLoss == SiteLoss.Wait || IsOver(state) || Contains(state.LostSites, site))
            return Nothing(state);
        var lost = Drop(state with { LostSites = Sorted(state.LostSites.Append(site)) }, site);
        return state.Phase is Phase.Training or Phase.Evaluating ? Settle(lost, resend: false) : (lost, [new RoundEffect.Persist(CanWait: true)]);
    }

    /// <summary>The silent of a lost site leave the phase; not if training would miss its quorum.</summary>
    private RoundState Drop(RoundState state, string site)
    {
        var waiting = Waiting(state);
        var leaving = waiting.Where(client => _clients[client].Site == site).ToArray();
        var holds = state.Phase == Phase.Evaluating || UsableCount(state) + waiting.Count - leaving.Length >= Quorum(state.Cohort.Count);
        return leaving.Length > 0 && holds ? state with { Dropped = Sorted(state.Dropped.Concat(leaving)) } : state;
    }

    private Step Return(RoundState state, string site)
    {
        var (resent, ask) = Resend(state, Waiting(state).Where(client => _clients[client].Site == site).ToArray());
        return Contains(state.LostSites, site)
            ? (resent with { LostSites = state.LostSites.Where(lost => lost != site).ToArray() }, [new RoundEffect.Persist(CanWait: true), .. ask])
            : (resent, ask);
    }

    // Small parts.

    private static Step Resend(RoundState state, IReadOnlyList<string> clients) =>
        clients.Count == 0 ? Nothing(state) : (state, [new RoundEffect.SendAssignments(AskedIn(state.Phase), clients)]);

    private RoundEffect[] Work(RoundState state, IReadOnlyList<string> clients)
    {
        var phase = AskedIn(state.Phase);
        var send = new RoundEffect.SendAssignments(phase, clients);
        return _plan.Strategy.Deadline is { } after ? [send, new RoundEffect.ArmDeadline(after, state.Round, state.Attempt, phase)] : [send];
    }

    private static RoundPhase AskedIn(Phase phase) => phase == Phase.Evaluating ? RoundPhase.Evaluate : RoundPhase.Train;

    private static Step Then(RoundState state, params RoundEffect[] effects) => (state, [new RoundEffect.Persist(), .. effects]);

    private static Step Nothing(RoundState state) => (state, []);

    private static bool IsOver(RoundState state) => state.Phase is Phase.Finished or Phase.Failed or Phase.Cancelled;

    private static string[] Usable(RoundState state) => state.Cohort.Where(client => state.Reports.TryGetValue(client, out var note) && note.Failure is null).ToArray();

    private static int UsableCount(RoundState state) => state.Reports.Count - state.Failures;

    private static RoundState WithReport(RoundState state, string client, ClientNote note) => state with
    {
        Reports = state.Reports.Add(client, note),
        Failures = state.Failures + (note.Failure is null ? 0 : 1),
    };

    private static string[] Sorted(IEnumerable<string> names) => names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();

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

    /// <summary>A manifest holds finite numbers, so a report without them is a failed one.</summary>
    private static ClientNote TrainingNote(ClientReport report)
    {
        var note = new ClientNote
        {
            Update = Digest(report.Update),
            Head = Digest(report.Head),
            Optimizer = Digest(report.Optimizer),
            Samples = report.Samples,
            Steps = report.Steps,
            MeanLoss = report.MeanLoss,
            ProductNorm = report.ProductNorm,
        };
        var failure = report.Failure
            ?? (double.IsFinite(report.MeanLoss) ? null : Invariant($"Its mean loss is {report.MeanLoss}."))
            ?? (double.IsFinite(report.ProductNorm) ? null : Invariant($"Its product norm is {report.ProductNorm}."));
        return failure is null ? note : Failed(note, failure);
    }

    private static ClientNote Failed(ClientNote note, string failure) => new()
    {
        Failure = Short(failure),
        Samples = note.Samples,
        Steps = note.Steps,
        MeanLoss = double.IsFinite(note.MeanLoss) ? note.MeanLoss : 0,
        ProductNorm = double.IsFinite(note.ProductNorm) ? note.ProductNorm : 0,
    };

    private static ScoreNote Scored(ClientReport report) => report switch
    {
        { Failure: { } failure } => new(null, Short(failure)),
        { Score: { } score } when !double.IsFinite(score.Value) || !double.IsFinite(score.Loss) => new(null, Invariant($"Its {score.Metric} is {score.Value}, its loss {score.Loss}.")),
        _ => new(report.Score, null),
    };

    private static BlobDigest? Digest(BlobRef? blob) => blob is null ? null : new(blob.Sha256, blob.SizeBytes);

    private static string Short(string reason) => reason.Length <= ReasonLength ? reason : string.Concat(reason.AsSpan(0, ReasonLength - 3), "...");

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}

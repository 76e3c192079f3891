using System.Collections.Immutable;
using FedRLora.Abstractions.Plans;
using Step = (
    FedRLora.Federation.Rounds.RoundState State,
    System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

// From a closed cohort to a committed round; how a job ends or waits.
public sealed partial class RoundMachine
{
    private static Step Close(RoundState state, string[] closed) =>
        Then(
            state with { Phase = Phase.Aggregating, Closed = closed, Dropped = Array.Empty<string>() },
            new RoundEffect.CloseAndAggregate(closed));

    private Step Refuse(RoundState state, RoundEvent.AggregationRefused refused)
    {
        if (state.Phase != Phase.Aggregating || refused.Round != state.Round || refused.Attempt != state.Attempt)
            return Nothing(state);
        var rest = state.Closed!.Where(client => !refused.Reasons.ContainsKey(client)).ToArray();
        if (rest.Length == state.Closed!.Count)
            return Nothing(state);

        var reports = state.Reports.SetItems(state.Closed.Except(rest).Select(client =>
            KeyValuePair.Create(client, KeptReports.Refused(state.Reports[client], refused.Reasons[client]))));
        var known = WithRefusals(state, state.Closed.Except(rest)) with
        {
            Reports = reports, Failures = state.Failures + state.Closed.Count - rest.Length,
        };
        return rest.Length >= Needed(state) ? Close(known, rest) : TryAgain(known, rest.Length);
    }

    /// <summary>Another try may have more reports.</summary>
    private Step GiveUp(RoundState state, RoundEvent.AggregationImpossible impossible)
    {
        if (state.Phase != Phase.Aggregating || impossible.Round != state.Round || impossible.Attempt != state.Attempt)
            return Nothing(state);
        return state.Tries < _plan.Strategy.MaxAttempts
            ? OpenAttempt(state)
            : Fail(Emptied(state), $"Round {state.Round}: {impossible.Reason}");
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
        if (state.Round == 0 && _scorers.Length > 0 && state.Scores.Count == _scorers.Length
            && state.Scores.Values.All(static report => report.Failure is not null))
            return Fail(state, $"No client could be scored: {state.Scores[_scorers[0]].Failure}");
        return Committing(state);
    }

    /// <summary>An update in the aggregate ends its client's refusals, and a quarantine ends with its last round.</summary>
    private static Step Committing(RoundState state) => Then(state with
    {
        Phase = Phase.Committing,
        Standings = state.Standings.RemoveRange(
            state.Closed!.Concat(
                state.Standings.Where(one => one.Value.Refusals == 0 && one.Value.QuarantinedUntil < state.Round)
                    .Select(static one => one.Key))),
    }, new RoundEffect.CommitRound());

    /// <summary>What is committed is committed, also where the job was stopped meanwhile.</summary>
    private Step Commit(RoundState state, RoundEvent.Committed committed)
    {
        if (committed.Round != state.Committed + 1 || committed.Round != state.Round)
            return Nothing(state);
        var next = Opened(state, committed.Round, committed.Sha256) with { Versions = VersionsAfter(state) };
        if (next.Committed >= _plan.Strategy.Rounds)
            return Finish(next);
        return IsOver(next) ? Then(next) : OpenAttempt(next);
    }

    private static ImmutableDictionary<string, int> VersionsAfter(RoundState state) => state.Versions.SetItems(
        (state.Candidate?.Tasks ?? ImmutableDictionary<string, TaskCandidate>.Empty)
            .Where(task => task.Value.Kept is null && state.Round > 0)
            .Select(task => KeyValuePair.Create(task.Key, state.Versions.GetValueOrDefault(task.Key) + 1)));

    private Step Finish(RoundState state) =>
        Then(state with { Phase = Phase.Finished, Round = _plan.Strategy.Rounds, Reason = null }, new RoundEffect.FinishJob());

    private static Step Fail(RoundState state, string reason) =>
        Then(state with { Phase = Phase.Failed, Reason = reason }, new RoundEffect.StopWork(), new RoundEffect.FailJob(reason));

    private static Step Pause(RoundState state, string? reason) =>
        IsOver(state) ? Nothing(state) : Then(state with { Phase = Phase.Paused, Reason = reason }, new RoundEffect.StopWork());

    // Refused updates.

    private static bool IsQuarantined(RoundState state, string client) =>
        state.Standings.TryGetValue(client, out var standing) && standing.QuarantinedUntil >= state.Round;

    private RoundState WithRefusals(RoundState state, IEnumerable<string> clients) => state with
    {
        Standings = state.Standings.SetItems(clients.Select(client =>
        {
            var refusals = (state.Standings.TryGetValue(client, out var standing) ? standing.Refusals : 0) + 1;
            var leaves = _plan.Strategy.Quarantine is { } quarantine && refusals >= quarantine.After;
            return KeyValuePair.Create(client, leaves ? new ClientStanding(0, LastRoundOut(state)) : new ClientStanding(refusals, -1));
        })),
    };

    private int LastRoundOut(RoundState state) => _plan.Strategy.Quarantine!.Rounds is { } rounds ? state.Round + rounds : int.MaxValue;
}

using FedRLora.Abstractions.Messages;
using Step = (
    FedRLora.Federation.Rounds.RoundState State,
    System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

// From enough reports to a cohort of which all is there. A client that its site does not confirm is as one that never reported.
public sealed partial class RoundMachine
{
    private const int MostLosses = 3;   // a client whose files are gone so often in one attempt has failed

    /// <summary>
    /// Asks every site that has not confirmed. After a crash that is every site: some may have gone down with the coordinator, and a
    /// question costs little.
    /// </summary>
    /// <param name="state">A state with enough reports.</param>
    /// <param name="timed">
    /// Whether the deadline of the training still runs; where it has passed, or was lost in a crash, it is armed again.
    /// </param>
    private Step Confirm(RoundState state, bool timed)
    {
        var asking = state with { Phase = Phase.Confirming, Confirmation = state.Confirmation + 1 };
        return SettleConfirming(asking.LostSites.Aggregate(asking, Drop), timed ? [] : DeadlineOf(asking, RoundPhase.Train));
    }

    private Step Answered(RoundState state, RoundEvent.SiteConfirmed answer)
    {
        var asked = (state.Round, state.Attempt, state.Confirmation);
        if (state.Phase != Phase.Confirming || (answer.Round, answer.Attempt, answer.Confirmation) != asked)
            return Nothing(state);
        if (!_sites.TryGetValue(answer.Site, out var clients) || !IsUnconfirmed(state, answer.Site))
            return Nothing(state);
        if (answer.StoreTrouble is { } trouble)
            return Pause(state, $"{answer.Site}: {trouble}");
        var missing = clients.Where(client => IsUsable(state, client) && answer.Missing.ContainsKey(client));
        var known = missing.Aggregate(state, (before, client) => WithoutFiles(before, client, answer.Missing[client]));
        var place = known.Confirmed.TakeWhile(site => string.CompareOrdinal(site, answer.Site) < 0).Count();
        return SettleConfirming(known with { Confirmed = [.. known.Confirmed.Take(place), answer.Site, .. known.Confirmed.Skip(place)] });
    }

    private bool IsUnconfirmed(RoundState state, string site) =>
        !Contains(state.Confirmed, site) && _sites[site].Any(client => IsUsable(state, client));

    /// <summary>Its report is forgotten, so that it is asked again; a client whose files never stay has failed.</summary>
    private static RoundState WithoutFiles(RoundState state, string client, string what)
    {
        var lost = new LostFiles((state.Lost.TryGetValue(client, out var before) ? before.Times : 0) + 1, KeptReports.Short(what));
        var known = state with { Lost = state.Lost.SetItem(client, lost) };
        if (lost.Times < MostLosses)
            return known with { Reports = known.Reports.Remove(client) };
        var failed = KeptReports.Lost(known.Reports[client], lost);
        return known with { Reports = known.Reports.SetItem(client, failed), Failures = known.Failures + 1 };
    }

    /// <summary>
    /// Waits for the sites that have not answered; then closes the round, or trains on where clients have become silent again.
    /// </summary>
    /// <param name="state">A state in <see cref="Phase.Confirming"/>.</param>
    /// <param name="timers">Where sites are to be asked: what bounds their answer beside timers that run already.</param>
    private Step SettleConfirming(RoundState state, RoundEffect[]? timers = null)
    {
        var usable = UsableCount(state);
        if (Attainable(state) < Needed(state))
            return TryAgain(state, usable);
        var unconfirmed = _sites.Keys.Where(site => IsUnconfirmed(state, site));
        if (timers is not null && unconfirmed.ToArray() is { Length: > 0 } asked)
            return Then(state, [new RoundEffect.ConfirmSites(asked), .. timers, .. NextBudget(state, 0)]);
        if (unconfirmed.Any())
            return (state, [new RoundEffect.Persist(CanWait: true)]);
        return usable == Attainable(state) || HasWanted(state) ? Close(state, Usable(state)) : TrainOn(state);
    }

    /// <summary>
    /// Asks the silent again. Timers of the training run on; a site whose clients train again is asked again, since whole groups do.
    /// </summary>
    private Step TrainOn(RoundState state)
    {
        var training = state with { Phase = Phase.Training };
        training = WithoutSlow(training.LostSites.Aggregate(training, Drop));
        var again = SitesOf(Waiting(training));
        training = training with { Confirmed = training.Confirmed.Where(site => !Contains(again, site)).ToArray() };
        var (settled, effects) = Settle(training, resend: false);
        if (settled.Phase != Phase.Training || settled.Attempt != state.Attempt)
            return (settled, effects);
        var ask = new RoundEffect.SendAssignments(RoundPhase.Train, Waiting(settled));
        return Then(settled, [ask, .. NextBudget(settled, settled.PassedSeconds)]);
    }

    /// <summary>Reports that came in time have the same time once more to be confirmed; then the round goes on without the rest.</summary>
    private Step ConfirmationDue(RoundState state)
    {
        if (state.Overdue)
            return SettleConfirming(state with { Reports = state.Reports.RemoveRange(Waiting(state)) });
        var late = state with { Overdue = true };
        var (settled, effects) = SettleConfirming(late);
        return IsAsked(settled, state) ? (settled, [.. effects, .. DeadlineOf(settled, RoundPhase.Train)]) : (settled, effects);
    }

    /// <summary>
    /// Whoever is not confirmed within the time budget it had for its training leaves, as many as the quorum can do without.
    /// </summary>
    private Step ConfirmationBudget(RoundState state, RoundEvent.BudgetPassed passed)
    {
        if (state.Phase != Phase.Confirming || passed.Confirmation != state.Confirmation)
            return Nothing(state);
        var slow = Slow(state, passed.Seconds, Attainable(state) - Needed(state)).Select(static one => one.Client).ToArray();
        var (settled, effects) = SettleConfirming(slow.Length == 0 ? state : Left(state, slow));
        return IsAsked(settled, state) ? (settled, [.. effects, .. NextBudget(settled, passed.Seconds)]) : (settled, effects);
    }

    /// <summary>Whether the question of a state before is still open.</summary>
    private static bool IsAsked(RoundState state, RoundState before) => state.Phase == Phase.Confirming
        && (state.Attempt, state.Confirmation) == (before.Attempt, before.Confirmation);

    private string[] SitesOf(IEnumerable<string> clients) => Sorted(clients.Select(client => _clients[client].Site));
}

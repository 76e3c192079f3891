using FedRLora.Abstractions.Plans;
using Step = (
    FedRLora.Federation.Rounds.RoundState State,
    System.Collections.Generic.IReadOnlyList<FedRLora.Federation.Rounds.RoundEffect> Effects);

namespace FedRLora.Federation.Rounds;

// Sites that lose their last silo and come back.
public sealed partial class RoundMachine
{
    private Step Lose(RoundState state, string site)
    {
        if (_plan.Strategy.SiteLoss == SiteLoss.Wait || IsOver(state) || Contains(state.LostSites, site))
            return Nothing(state);
        var lost = Drop(state with { LostSites = Sorted(state.LostSites.Append(site)) }, site);
        return state.Phase switch
        {
            Phase.Training or Phase.Evaluating => Settle(lost, resend: false),
            Phase.Confirming => SettleConfirming(lost),
            _ => (lost, [new RoundEffect.Persist(CanWait: true)]),
        };
    }

    /// <summary>
    /// The silent of a lost site leave the phase, and with them the report of a client that was not confirmed; not if the round would
    /// miss its quorum.
    /// </summary>
    private RoundState Drop(RoundState state, string site)
    {
        var waiting = Waiting(state);
        var leaving = waiting.Where(client => _clients[client].Site == site).ToArray();
        var holds = state.Phase == Phase.Evaluating || Attainable(state) - leaving.Length >= Needed(state);
        return leaving.Length > 0 && holds ? Left(state, leaving) : state;
    }

    private static RoundState Left(RoundState state, IReadOnlyList<string> clients) => state with
    {
        Dropped = Sorted(state.Dropped.Concat(clients)),
        Reports = state.Phase == Phase.Confirming ? state.Reports.RemoveRange(clients) : state.Reports,
    };

    /// <summary>Usable updates that there may be in the end.</summary>
    private static int Attainable(RoundState state) =>
        UsableCount(state) + (state.Overdue ? 0 : state.Cohort.Count - state.Reports.Count - state.Dropped.Count);

    private Step Return(RoundState state, string site)
    {
        var (resent, ask) = Resend(state, Waiting(state).Where(client => _clients[client].Site == site).ToArray());
        return Contains(state.LostSites, site)
            ? (
                resent with { LostSites = state.LostSites.Where(lost => lost != site).ToArray() },
                [new RoundEffect.Persist(CanWait: true), .. ask])
            : (resent, ask);
    }
}

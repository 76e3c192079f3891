using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Rounds;

// Why a round does not go on: read off the state, nothing is remembered for it.
public sealed partial class RoundMachine
{
    private const int ShownClients = 3;

    /// <summary>
    /// What a job waits for. Where several things hold it, the one that has to be mended first: what stops the job as a whole, then a site
    /// without a silo, then a client over its time budget, then what made the try before fail.
    /// </summary>
    /// <returns>Null for a job that is finished or cancelled, or has not begun.</returns>
    public Hold? HoldOf(RoundState state, HoldFacts facts)
    {
        if (facts.Changed is { } changed)
            return new Hold { Kind = HoldKind.Changed, Lines = [changed] };
        if (facts.StoreTrouble is { } trouble)
            return new Hold { Kind = HoldKind.Store, Lines = [trouble], For = facts.Stopped };
        switch (state.Phase)
        {
            case Phase.Idle or Phase.Finished or Phase.Cancelled:
                return null;
            case Phase.Paused:
                return new Hold { Kind = HoldKind.Paused, Lines = state.Reason is { } why ? [why] : [], For = facts.Stopped };
            case Phase.Failed:
                return new Hold { Kind = KindOf(state.Missed) ?? HoldKind.Failed, Lines = [state.Reason ?? ""], For = facts.Stopped };
        }

        var waiting = Waiting(state);
        return AtAbsentSites(state, waiting, facts) ?? OverBudget(state, waiting, facts) ?? TriedAgain(state, facts)
            ?? AtWork(state, waiting, facts);
    }

    /// <summary>What is held at each site without a live silo, whether the open round needs it or not.</summary>
    public IReadOnlyList<Hold> HoldsOf(IReadOnlyList<AbsentSite> absent) =>
    [
        .. absent.Where(site => _sites.ContainsKey(site.Site)).Select(site => new Hold
        {
            Kind = KindOf(site), Sites = [site],
            Clients = _sites[site.Site].Take(ShownClients).ToArray(), ClientCount = _sites[site.Site].Length,
        }),
    ];

    private Hold? AtAbsentSites(RoundState state, IReadOnlyList<string> waiting, HoldFacts facts)
    {
        if (facts.Absent.Count == 0)
            return null;
        var absent = facts.Absent.ToDictionary(static site => site.Site, StringComparer.Ordinal);
        var there = waiting.Where(client => absent.ContainsKey(_clients[client].Site)).ToArray();
        if (there.Length == 0)
            return null;
        var sites = SitesOf(there).Select(site => absent[site]).ToArray();
        return Waited(there, facts) with
        {
            Kind = sites.Any(static site => site.LastSilo is null) ? HoldKind.UnservedSite : HoldKind.LostSite,
            Sites = sites,
            Phase = NameOf(state.Phase),
            Need = _plan.Strategy.SiteLoss == SiteLoss.Continue && state.Phase != Phase.Evaluating ? Needed(state) : 0,
        };
    }

    private Hold? OverBudget(RoundState state, IReadOnlyList<string> waiting, HoldFacts facts)
    {
        if (state.Phase != Phase.Training || state.PassedSeconds <= 0)
            return null;
        var over = waiting.Where(client => BudgetOf(state, client) <= state.PassedSeconds).ToArray();
        return over.Length == 0 ? null : Waited(over, facts) with
        {
            Kind = HoldKind.TimeBudget,
            Phase = NameOf(state.Phase),
            Need = Needed(state),
            For = facts.Sent,
            Budget = TimeSpan.FromSeconds(BudgetOf(state, over[0])!.Value),
        };
    }

    private Hold? TriedAgain(RoundState state, HoldFacts facts)
    {
        if (state.Missed is not { } missed || state.Phase is not (Phase.Training or Phase.Confirming))
            return null;
        return new Hold
        {
            Kind = KindOf(missed)!.Value,
            Clients = missed.Silent,
            ClientCount = missed.SilentCount,
            Phase = NameOf(state.Phase),
            Have = missed.Usable,
            Of = missed.Of,
            Need = missed.Needed,
            Lines = missed.Failures,
            Left = facts.Left,
            Try = string.Create(CultureInfo.InvariantCulture, $"try {state.Tries} of {_plan.Strategy.MaxAttempts}"),
        };
    }

    private Hold AtWork(RoundState state, IReadOnlyList<string> waiting, HoldFacts facts)
    {
        var (have, of) = Progress(state);
        var failed = state.Phase == Phase.Evaluating
            ? state.Scores.Where(static score => score.Value.Failure is not null)
                .Select(static score => (score.Key, Why: score.Value.Failure!))
            : state.Reports.Where(static report => report.Value.Failure is not null)
                .Select(static report => (report.Key, Why: report.Value.Failure!));
        return Waited(waiting, facts) with
        {
            Kind = HoldKind.AtWork,
            Phase = NameOf(state.Phase),
            Have = have,
            Of = state.Phase is Phase.Aggregating or Phase.Committing ? 0 : of,
            Lines = failed.OrderBy(static client => client.Key, StringComparer.Ordinal).Take(ShownClients)
                .Select(static client => $"{client.Key}: {client.Why}").ToArray(),
            For = facts.Sent,
        };
    }

    private static Hold Waited(IReadOnlyList<string> clients, HoldFacts facts) => new()
    {
        Kind = HoldKind.AtWork,
        Clients = clients.Take(ShownClients).ToArray(),
        ClientCount = clients.Count,
        Left = facts.Left,
    };

    private static HoldKind KindOf(AbsentSite site) => site.LastSilo is null ? HoldKind.UnservedSite : HoldKind.LostSite;

    private static HoldKind? KindOf(MissedTry? missed) => missed switch
    {
        null => null,
        { Failures.Count: > 0 } => HoldKind.FailingClient,
        _ => HoldKind.Quorum,
    };

    /// <summary>A phase as people read it.</summary>
    public static string NameOf(Phase phase) => phase switch
    {
        Phase.Training => "train", Phase.Confirming => "confirm", Phase.Aggregating => "aggregate", Phase.Evaluating => "evaluate",
        Phase.Committing => "commit", _ => "idle",
    };
}

using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>Feeds events to a machine and keeps what the last one gave.</summary>
internal sealed class Run(FederationPlan plan)
{
    private readonly RoundMachine _machine = new(plan);

    public RoundState State { get; private set; } = RoundState.Initial;

    public IReadOnlyList<string> Effects { get; private set; } = [];

    public Run On(params RoundEvent[] events)
    {
        foreach (var one in events)
        {
            (State, var effects) = _machine.Next(State, one);
            Effects = [.. effects.Select(Describe)];
        }
        return this;
    }

    public Run On(Func<Run, RoundEvent> happens) => On(happens(this));

    /// <summary>What it waits for.</summary>
    public Hold? Hold(HoldFacts? facts = null) => _machine.HoldOf(State, facts ?? new HoldFacts());

    /// <summary>What each client of the open round does.</summary>
    public IReadOnlyList<ClientNow> Clients(IReadOnlySet<string> absent) => _machine.ClientsOf(State, absent, static (_, _) => null);

    /// <summary>These clients trained, in this order.</summary>
    public Run Train(int round, params string[] clients) =>
        On([.. clients.Select(client => new RoundEvent.ClientReported(Trained(round, client, State.Attempt)))]);

    /// <summary>This client trained and took so long.</summary>
    public Run Took(double seconds, string client, double waited = 0) =>
        On(new RoundEvent.ClientReported(
            Trained(State.Round, client, State.Attempt).With(numbers => numbers with { WaitedSeconds = waited }), seconds));

    /// <summary>This client failed.</summary>
    public Run Fail(int round, string client, string reason) =>
        On(new RoundEvent.ClientReported(Trained(round, client, State.Attempt, reason)));

    /// <summary>These clients scored the candidate, in this order.</summary>
    public Run Score(int round, params string[] clients) =>
        On([.. clients.Select(client => new RoundEvent.ClientReported(Scored(round, client, State.Attempt)))]);

    /// <summary>These sites have all of it, in this order; every site that is asked where none is named.</summary>
    public Run Confirm(params string[] sites) => On([.. (sites.Length > 0 ? sites : Asked).Select(site => Confirmed(site))]);

    /// <summary>A site's answer to the question that is open.</summary>
    public RoundEvent.SiteConfirmed Confirmed(string site, params string[] missing) =>
        new(
            site, State.Round, State.Attempt, State.Confirmation,
            missing.ToDictionary(static client => client, static client => $"{client}/head.safetensors is missing."));

    /// <summary>Everybody does what is asked and the round is committed.</summary>
    public Run Commit(int round) => ToCommit(round).On(new RoundEvent.Committed(round, $"digest {round}"));

    /// <summary>Everybody does what is asked until the round can be committed.</summary>
    public Run ToCommit(int round) => Train(round, [.. State.Cohort]).Confirm()
        .On(new RoundEvent.Aggregated(round, State.Attempt, Candidate(round)))
        .Score(round, [.. _machine.Waiting(State)]);

    private string[] Asked =>
        [
            .. _machine.Waiting(State).Select(client => plan.Clients.First(one => one.Id == client).Site).Distinct()
                .Order(StringComparer.Ordinal),
        ];

    /// <summary>An effect in a few words.</summary>
    public static string Describe(RoundEffect effect) => effect switch
    {
        RoundEffect.Persist persist => persist.CanWait ? "persist later" : "persist",
        RoundEffect.SendAssignments send => $"send {send.Phase} {string.Join(' ', send.Clients)}",
        RoundEffect.ArmDeadline arm => $"deadline {arm.Phase} {arm.Round}/{arm.Attempt} {arm.After}",
        RoundEffect.ArmBudget arm => string.Create(
            CultureInfo.InvariantCulture,
            $"budget {arm.Round}/{arm.Attempt} in {arm.After.TotalSeconds} at {arm.Seconds}{(arm.Confirmation > 0 ? " to confirm" : "")}"),
        RoundEffect.ConfirmSites confirm => $"confirm {string.Join(' ', confirm.Sites)}",
        RoundEffect.CloseAndAggregate close => $"aggregate {string.Join(' ', close.Closed)}".TrimEnd(),
        RoundEffect.CommitRound => "commit",
        RoundEffect.FinishJob => "finish",
        RoundEffect.FailJob fail => $"fail: {fail.Reason}",
        RoundEffect.StopWork => "stop",
        RoundEffect.Deactivate => "deactivate",
        _ => effect.ToString(),
    };
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>Every reason why a round does not go on, with its text: a table over states, sites and the clock.</summary>
public class HoldTests
{
    private static readonly FederationPlan Plan = Of(
        [Client("a", "north"), Client("b", "north"), Client("c", "south"), Client("d", "west")]);
    private static readonly AbsentSite NoSouth = new("south", "south-1", TimeSpan.FromSeconds(41.7));
    private static readonly AbsentSite NoWest = new("west", LastSilo: null, Gone: null);

    private static readonly (string Case, Func<Run> State, HoldFacts Facts, HoldKind? Kind, string? Text)[] Table =
    [
        ("not begun", static () => new Run(Plan), new(), null, null),
        ("finished", static () => InRound1().Commit(1).Commit(2), new(), null, null),
        ("cancelled", static () => InRound1().On(new RoundEvent.Cancelled()), new() { Absent = [NoSouth] }, null, null),
        ("at work", static () => InRound1().Train(1, "b"), new(), HoldKind.AtWork, "train: 1 of 4 clients are in; at work: a, c, d"),
        ("many at work", static () => InRound1(Of([.. Enumerable.Range(0, 9).Select(static i => Client($"c{i}"))])), new(), HoldKind.AtWork,
            "train: 0 of 9 clients are in; at work: c0, c1, c2 and 6 more"),
        ("before a deadline", static () => InRound1().Train(1, "a", "b", "c"), new() { Left = TimeSpan.FromSeconds(190) }, HoldKind.AtWork,
            "train: 3 of 4 clients are in; at work: d; the deadline is in 3 min 10 s"),
        ("one has failed and can be done without", static () => InRound1(Half).Fail(1, "b", "b.jsonl: no such file"), new(),
            HoldKind.AtWork, "train: 1 of 4 clients are in; at work: a, c, d; failed: b: b.jsonl: no such file"),
        ("a start that is scored",
            static () =>
                new Run(Plan).On(new RoundEvent.Started(-1, null, []), new RoundEvent.Aggregated(0, 1, Candidate(0))).Score(0, "a"),
            new(), HoldKind.AtWork, "evaluate: 1 of 4 clients are in; at work: b, c, d"),
        ("confirming", static () => InRound1().Train(1, "a", "b", "c", "d").Confirm("south"), new(), HoldKind.AtWork,
            "confirm: 1 of 4 clients are in; at work: a, b, d"),
        ("aggregating", static () => InRound1().Train(1, "a", "b", "c", "d").Confirm(), new() { Absent = [NoSouth] }, HoldKind.AtWork,
            "aggregate"),
        ("a site nobody serves", static () => InRound1(), new() { Absent = [NoWest] }, HoldKind.UnservedSite,
            "no silo serves site west (start one with --site west); 1 client is waited for there"),
        ("a lost site", static () => InRound1(), new() { Absent = [NoSouth] }, HoldKind.LostSite,
            "site south has had no silo for 41 s (the last was south-1); 1 client is waited for there"),
        ("a site lost before anybody looked", static () => InRound1(), new() { Absent = [NoSouth with { Gone = null }] }, HoldKind.LostSite,
            "site south has no silo any more (the last was south-1); 1 client is waited for there"),
        ("a lost one and one nobody serves", static () => InRound1(), new() { Absent = [NoSouth, NoWest] }, HoldKind.UnservedSite,
            "site south has had no silo for 41 s (the last was south-1); no silo serves site west (start one with --site west); 2 "
                + "clients are waited for there"),
        ("a lost site that has reported", static () => InRound1().Train(1, "c"), new() { Absent = [NoSouth] }, HoldKind.AtWork,
            "train: 1 of 4 clients are in; at work: a, b, d"),
        ("a lost site that has yet to confirm", static () => InRound1().Train(1, "a", "b", "c", "d"), new() { Absent = [NoSouth] },
            HoldKind.LostSite, "site south has had no silo for 41 s (the last was south-1); 1 client is waited for there"),
        ("a lost site that the quorum needs",
            static () => InRound1(Plan.With(static s => s with { SiteLoss = SiteLoss.Continue })).On(new RoundEvent.SiteLost("south")),
            new() { Absent = [NoSouth], Left = TimeSpan.FromSeconds(5) }, HoldKind.LostSite,
            "site south has had no silo for 41 s (the last was south-1); 1 client is waited for there, and the quorum of 4 needs "
                + "them; the deadline is in 5 s"),
        ("a lost site that was left out",
            static () => InRound1(Half.With(static s => s with { SiteLoss = SiteLoss.Continue })).On(new RoundEvent.SiteLost("south")),
            new() { Absent = [NoSouth] }, HoldKind.AtWork, "train: 0 of 4 clients are in; at work: a, b, d"),
        ("the try before missed its quorum by a failure", static () => InRound1().Fail(1, "b", "b.jsonl: no such file"), new(),
            HoldKind.FailingClient,
            "b: b.jsonl: no such file; the try before had 0 usable of 4 updates, the quorum is 4; try 2 of 3 is at work"),
        ("a site is absent while a try is repeated", static () => InRound1().Fail(1, "b", "b.jsonl: no such file"),
            new() { Absent = [NoSouth] }, HoldKind.LostSite,
            "site south has had no silo for 41 s (the last was south-1); 1 client is waited for there"),
        ("the try before missed its quorum at the deadline",
            static () => InRound1(Timed).Train(1, "a").On(new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Train)),
            new() { Left = TimeSpan.FromSeconds(7) }, HoldKind.Quorum,
            "the try before had 1 usable of 4 updates, the quorum is 4; try 2 of 3 is at work (silent at the deadline before: b, "
                + "c, d); the deadline is in 7 s"),
        ("the next round after a missed quorum", static () => InRound1().Fail(1, "b", "out of memory").Commit(1), new(), HoldKind.AtWork,
            "train: 0 of 4 clients are in; at work: a, b, c and 1 more"),
        ("over its time budget and needed",
            static () =>
                InRound1(Budgeted).Took(1, "a").Took(1, "b").Took(1, "c").Took(1, "d").Confirm()
                    .On(new RoundEvent.Aggregated(1, 1, Candidate(1))).Score(1, "a", "b", "c", "d").On(new RoundEvent.Committed(1, "one"))
                    .Took(1, "a").Took(1, "b").Took(1, "c").On(new RoundEvent.BudgetPassed(2, 1, 4)),
            new() { Sent = TimeSpan.FromSeconds(12.3) }, HoldKind.TimeBudget,
            "d is over its time budget of 4 s after 12 s, and the quorum of 4 needs it"),
        ("paused by an operator", static () => InRound1().On(new RoundEvent.Paused()),
            new() { Stopped = TimeSpan.FromHours(2.5), Absent = [NoSouth] }, HoldKind.Paused,
            "paused for 2 h 30 min by an operator, until it is resumed"),
        ("paused for a reason", static () => InRound1().On(new RoundEvent.Paused("north: disk full")),
            new() { Stopped = TimeSpan.FromSeconds(9) }, HoldKind.Paused, "paused for 9 s: north: disk full"),
        ("a store is away", static () => InRound1(), new() { StoreTrouble = "the store does not answer", Absent = [NoSouth] },
            HoldKind.Store, "the store does not answer"),
        ("another base", static () => InRound1(), new() { Changed = "model.safetensors has changed", StoreTrouble = "away" },
            HoldKind.Changed, "model.safetensors has changed"),
        ("failed by a client", static () => InRound1(Once).Fail(1, "b", "b.jsonl: no such file"), new(), HoldKind.FailingClient,
            "Round 1 had 0 usable of 4 updates in try 1 of 1, the quorum is 4; 3 still at work. b: b.jsonl: no such file"),
        ("failed at the deadline", static () => InRound1(Once).Train(1, "a").On(new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Train)),
            new(), HoldKind.Quorum, "Round 1 had 1 usable of 4 updates in try 1 of 1, the quorum is 4; 3 silent."),
        ("failed by itself", static () => InRound1().On(new RoundEvent.Broken("model/config.json is missing.")), new(), HoldKind.Failed,
            "model/config.json is missing."),
    ];

    public static TheoryData<string> Cases => [.. Table.Select(static one => one.Case)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_a_round_waits_for_is_one_value_with_one_text(string name)
    {
        var (_, state, facts, kind, text) = Table.Single(one => one.Case == name);

        var hold = state().Hold(facts);

        Assert.Equal((kind, text), (hold?.Kind, hold?.Text));
    }

    [Fact]
    public void Every_kind_has_a_row() =>
        Assert.Equal(Enum.GetValues<HoldKind>().Order(), Table.Select(static one => one.Kind).OfType<HoldKind>().Distinct().Order());

    [Fact]
    public void It_is_the_same_hold_while_time_passes_and_others_report_and_another_where_a_site_joins_it()
    {
        var before = InRound1().Hold(new() { Absent = [NoSouth] })!;
        var later = InRound1().Train(1, "a").Hold(new() { Absent = [NoSouth with { Gone = TimeSpan.FromMinutes(3) }] })!;
        var more = InRound1().Hold(new() { Absent = [NoSouth, NoWest] })!;

        Assert.Equal(before.Identity, later.Identity);
        Assert.NotEqual(before.Identity, more.Identity);
    }

    [Fact]
    public void Sites_without_a_silo_are_known_before_a_round_needs_them()
    {
        var holds = new RoundMachine(Plan).HoldsOf([NoWest, new AbsentSite("elsewhere", null, null)]);

        Assert.Equal(
            "no silo serves site west (start one with --site west); 1 client of the plan belongs there", Assert.Single(holds).Text);
    }

    [Fact]
    public void A_resumed_run_does_not_speak_of_the_tries_before()
    {
        var run = InRound1(Once).Fail(1, "b", "b.jsonl: no such file").On(new RoundEvent.Started(0, "digest 0", [], Resume: true));

        Assert.Equal(HoldKind.AtWork, run.Hold()!.Kind);
    }

    private static FederationPlan Half => Plan.With(static strategy => strategy with { Quorum = 0.5 });

    private static FederationPlan Once =>
        Plan.With(static strategy => strategy with { MaxAttempts = 1, Deadline = TimeSpan.FromSeconds(30) });

    private static FederationPlan Timed => Plan.With(static strategy => strategy with { Deadline = TimeSpan.FromSeconds(30) });

    private static FederationPlan Budgeted =>
        Plan.With(static strategy => strategy with { TimeBudget = new() { Factor = 3, AtLeast = TimeSpan.FromSeconds(4) } });

    private static Run InRound1(FederationPlan? plan = null) => new Run(plan ?? Plan).On(new RoundEvent.Started(0, "digest 0", []));
}

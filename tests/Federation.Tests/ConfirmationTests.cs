using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>Between the last report and the aggregation: is all of it there?</summary>
public class ConfirmationTests
{
    private static readonly FederationPlan Plan = Of(
        [
            Client("a", "east", test: false), Client("b", "east", test: false), Client("c", "west", test: false),
            Client("d", "west", test: false),
        ])
        .With(strategy => strategy with { Rounds = 5 });

    private static readonly FederationPlan Half = Plan.With(strategy => strategy with { Quorum = 0.5 });
    private static readonly FederationPlan Timed = Half.With(strategy => strategy with { Deadline = TimeSpan.FromMinutes(5) });
    private static readonly FederationPlan Going = Half.With(strategy => strategy with { SiteLoss = SiteLoss.Continue });

    [Fact]
    public void Every_site_is_asked_once_and_the_round_closes_with_the_last_answer()
    {
        var run = Reported(Plan);
        Assert.Equal(["persist", "confirm east west"], run.Effects);
        Assert.Equal(["persist later"], run.Confirm("west").Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("east").Effects);
    }

    [Fact]
    public void A_site_of_which_nobody_has_a_usable_update_is_not_asked()
    {
        var run = InRound1(Half).Fail(1, "c", "because").Fail(1, "d", "because").Train(1, "a", "b");
        Assert.Equal(["persist", "confirm east"], run.Effects);
    }

    [Fact]
    public void Round_0_has_nothing_to_confirm() =>
        Assert.Equal(["persist", "aggregate"], new Run(Plan).On(new RoundEvent.Started(-1, null, [])).Effects);

    [Fact]
    public void Progress_counts_the_confirmed()
    {
        var run = Reported(Plan).Confirm("east");
        Assert.Equal((2, 4), new RoundMachine(Plan).Progress(run.State));
    }

    // Missing files.

    [Fact]
    public void A_client_whose_files_are_gone_trains_again_and_only_its_site_is_asked_again()
    {
        var run = Reported(Plan).On(run => run.Confirmed("west", "c")).Confirm("east");
        Assert.Equal(["persist", "send Train c"], run.Effects);
        Assert.Equal((Phase.Training, 1), (run.State.Phase, run.State.Attempt));

        Assert.Equal(["persist", "confirm west"], run.Train(1, "c").Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("west").Effects);
    }

    [Fact]
    public void Sites_that_have_not_answered_are_waited_for_before_somebody_trains_again()
    {
        var run = Reported(Plan).On(run => run.Confirmed("west", "c"));
        Assert.Equal(["persist later"], run.Effects);
        Assert.Equal(Phase.Confirming, run.State.Phase);
    }

    [Fact]
    public void A_client_whose_files_never_stay_has_failed_and_says_why()
    {
        var run = Reported(Half);
        for (var time = 1; time <= 2; time++)
            run.Confirm("east").On(run => run.Confirmed("west", "c")).Train(1, "c");
        run.On(run => run.Confirmed("west", "c"));

        Assert.Equal(["persist", "aggregate a b d"], run.Effects);
        Assert.Equal("c/head.safetensors is missing. (it was gone 3 times)", run.State.Reports["c"].Failure);
        Assert.False(run.State.Reports["c"].Refused);
    }

    [Fact]
    public void Where_more_were_asked_than_are_needed_another_report_takes_the_place_of_what_is_gone()
    {
        var run = InRound1(
            Plan.With(strategy => strategy with { Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.5, Overselect = 2 } }))
            .Train(1, "a", "c");
        run.Confirm("east").On(run => run.Confirmed("west", "c"));
        Assert.Equal(["persist", "send Train b c d"], run.Effects);

        Assert.Equal(["persist", "confirm east"], run.Train(1, "b").Effects);
        Assert.Equal(["persist", "aggregate a b"], run.Confirm("east").Effects);
    }

    [Fact]
    public void The_reason_of_a_failed_job_names_what_was_missing()
    {
        var run = Reported(Timed.With(strategy => strategy with { Quorum = 1, MaxAttempts = 1 })).On(Deadline)
            .On(run => run.Confirmed("west", "c")).Confirm("east");
        Assert.Equal(
            "Round 1 had 3 usable of 4 updates in try 1 of 1, the quorum is 4; 1 silent. c: c/head.safetensors is missing.",
            run.State.Reason);
    }

    // Answers that change nothing.

    [Fact]
    public void An_answer_that_comes_twice_counts_once()
    {
        var run = Reported(Plan).Confirm("east");
        var before = run.State;
        Assert.Same(before, run.On(run => run.Confirmed("east", "a")).State);
    }

    [Theory]
    [InlineData(0, 1, 1, "west")]
    [InlineData(1, 2, 1, "west")]
    [InlineData(1, 1, 0, "west")]
    [InlineData(1, 1, 2, "west")]
    [InlineData(1, 1, 1, "north")]
    public void An_answer_to_another_question_changes_nothing(int round, int attempt, int confirmation, string site)
    {
        var run = Reported(Plan).Confirm("east");
        var before = run.State;
        run.On(new RoundEvent.SiteConfirmed(site, round, attempt, confirmation, new Dictionary<string, string>()));
        Assert.Same(before, run.State);
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void An_answer_from_before_a_client_trained_again_says_nothing_of_its_new_files()
    {
        var run = Reported(Plan);
        var stale = run.Confirmed("west");
        run.On(run => run.Confirmed("west", "c")).Confirm("east").Train(1, "c").On(stale);
        Assert.Empty(run.Effects);
        Assert.Equal(Phase.Confirming, run.State.Phase);
    }

    [Fact]
    public void A_report_that_comes_while_sites_confirm_changes_nothing()
    {
        var run = InRound1(Timed).Train(1, "a", "c").On(Deadline).Train(1, "b");
        Assert.Empty(run.Effects);
        Assert.Equal(["persist", "aggregate a c"], run.Confirm().Effects);
    }

    // Sites that die between report and confirmation.

    [Fact]
    public void A_site_that_dies_before_it_confirmed_is_waited_for_and_asked_when_it_is_back()
    {
        var run = Reported(Half).Confirm("east").On(new RoundEvent.SiteLost("west"));
        Assert.Empty(run.Effects);
        Assert.Equal(["confirm west"], run.On(new RoundEvent.ResendDue()).Effects);
        Assert.Equal(["confirm west"], run.On(new RoundEvent.SiteReturned("west")).Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("west").Effects);
    }

    [Fact]
    public void A_site_that_dies_before_it_confirmed_leaves_the_round_where_the_plan_continues()
    {
        var run = Reported(Going).Confirm("east").On(new RoundEvent.SiteLost("west"));
        Assert.Equal(["persist", "aggregate a b"], run.Effects);

        run.On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        var previous = new RoundManifest { Round = 0, PlanSha256 = PlanSha256, Shared = new("00", 1), Clients = [] };
        Assert.Equal(
            [ClientOutcome.Trained, ClientOutcome.Trained, ClientOutcome.Late, ClientOutcome.Late],
            ManifestBuilder.Build(Going, PlanSha256, previous, run.State).Clients.Select(static client => client.Outcome));
    }

    [Fact]
    public void A_site_that_dies_after_it_confirmed_is_in_the_round()
    {
        var run = Reported(Going).Confirm("west").On(new RoundEvent.SiteLost("west"));
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("east").Effects);
    }

    [Fact]
    public void A_site_that_dies_before_it_confirmed_is_waited_for_if_the_quorum_needs_it()
    {
        var run = Reported(Going.With(strategy => strategy with { Quorum = 0.75 })).Confirm("east").On(new RoundEvent.SiteLost("west"));
        Assert.Equal(Phase.Confirming, run.State.Phase);
        Assert.Contains("confirm west", run.On(new RoundEvent.SiteReturned("west")).Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("west").Effects);
    }

    [Fact]
    public void A_store_that_a_site_cannot_use_pauses_the_job_and_the_site_is_asked_again_when_it_is_resumed()
    {
        var run = Reported(Plan).On(run => run.Confirmed("west") with { StoreTrouble = "no space left" });
        Assert.Equal((Phase.Paused, "west: no space left"), (run.State.Phase, run.State.Reason));

        Assert.Equal(["persist", "confirm east west"], run.On(new RoundEvent.Started(0, "zero", [], Resume: true)).Effects);
    }

    // Deadline and time budgets.

    [Fact]
    public void A_deadline_that_passes_while_sites_confirm_gives_them_the_same_time_once_more()
    {
        var run = Reported(Timed).Confirm("east").On(Deadline);
        Assert.Equal(["persist later", "deadline Train 1/1 00:05:00"], run.Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("west").Effects);
    }

    [Fact]
    public void Whoever_is_not_confirmed_by_then_is_not_in_the_round()
    {
        var run = Reported(Timed).Confirm("east").On(Deadline, Deadline);
        Assert.Equal(["persist", "aggregate a b"], run.Effects);
    }

    [Fact]
    public void Without_enough_confirmed_by_then_the_round_is_tried_again()
    {
        var run = Reported(Timed).On(Deadline, Deadline);
        Assert.Equal((Phase.Training, 2), (run.State.Phase, run.State.Attempt));
    }

    [Fact]
    public void Whoever_closed_the_round_at_its_deadline_has_as_long_again_to_be_confirmed()
    {
        var run = InRound1(Timed).Train(1, "a", "c").On(Deadline);
        Assert.Equal(["persist", "confirm east west", "deadline Train 1/1 00:05:00"], run.Effects);
        Assert.Equal((Phase.Training, 2), (run.Confirm("east").On(Deadline).State.Phase, run.State.Attempt));   // one of four
    }

    [Fact]
    public void After_the_deadline_nobody_trains_again_and_the_manifest_says_what_was_missing()
    {
        var run = Reported(Timed).On(Deadline).On(run => run.Confirmed("west", "c")).Confirm("east");
        Assert.Equal(["persist", "aggregate a b d"], run.Effects);

        run.On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        var previous = new RoundManifest { Round = 0, PlanSha256 = PlanSha256, Shared = new("00", 1), Clients = [] };
        var late = ManifestBuilder.Build(Timed, PlanSha256, previous, run.State).Clients[2];
        Assert.Equal((ClientOutcome.Late, "c/head.safetensors is missing."), (late.Outcome, late.Reason));
    }

    [Fact]
    public void Before_the_deadline_the_time_for_training_again_is_what_is_left_of_it()
    {
        var run = Reported(Timed).Confirm("east").On(run => run.Confirmed("west", "c"));
        Assert.Equal(["persist", "send Train c"], run.Effects);
        Assert.Equal(
            ["persist", "confirm east west", "deadline Train 1/1 00:05:00"],
            run.On(Deadline).On(new RoundEvent.Started(0, "zero", [])).Effects);
    }

    [Fact]
    public void A_client_that_is_not_confirmed_within_its_time_budget_leaves_if_the_quorum_holds()
    {
        var budgeted = Half.With(strategy => strategy with { TimeBudget = new() { Factor = 3, AtLeast = TimeSpan.FromSeconds(4) } });
        var run = InRound1(budgeted).Took(1, "a").Took(1, "b").Took(2, "c").Took(2, "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));
        run.Took(1, "a").Took(1, "b").Took(2, "c").Took(2, "d");
        Assert.Equal(["persist", "confirm east west", "budget 2/1 in 4 at 4 to confirm"], run.Effects);

        run.Confirm("east").On(new RoundEvent.BudgetPassed(2, 1, 6));   // one of the training, that was on its way
        Assert.Empty(run.Effects);
        run.On(new RoundEvent.BudgetPassed(2, 1, 6, run.State.Confirmation));

        Assert.Equal(["persist", "aggregate a b"], run.Effects);
    }

    // Crashes and stops.

    [Fact]
    public void After_a_crash_every_site_is_asked_again()
    {
        var run = Reported(Plan).Confirm("east");
        var stale = run.Confirmed("west");
        Assert.Equal(["persist", "confirm east west"], run.On(new RoundEvent.Started(0, "zero", [])).Effects);
        Assert.Empty(run.On(stale).Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("east", "west").Effects);
    }

    [Fact]
    public void A_round_that_was_closed_by_its_deadline_stays_closed_over_a_crash_while_sites_confirm()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c").On(Deadline, new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "confirm east west", "deadline Train 1/1 00:05:00"], run.Effects);
        Assert.Equal(["persist", "aggregate a b c"], run.Confirm().Effects);
    }

    [Fact]
    public void A_crash_after_the_last_answer_aggregates_what_was_confirmed()
    {
        var run = Reported(Plan).Confirm().On(new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "aggregate a b c d"], run.Effects);
    }

    [Fact]
    public void A_pause_while_sites_confirm_ignores_their_answers_and_asks_again_when_resumed()
    {
        var run = Reported(Plan).On(new RoundEvent.Paused());
        Assert.Empty(run.On(run => run.Confirmed("west", "c")).Effects);
        Assert.Equal(["persist", "confirm east west"], run.On(new RoundEvent.Started(0, "zero", [], Resume: true)).Effects);
    }

    [Fact]
    public void A_report_at_a_site_that_had_confirmed_before_a_pause_is_confirmed_too()
    {
        var run = Reported(Plan).Confirm("east").On(run => run.Confirmed("west", "c"))
            .On(new RoundEvent.Paused(), new RoundEvent.Started(0, "zero", [], Resume: true)).Train(1, "c");
        Assert.Equal(["persist", "confirm east west"], run.Effects);
    }

    // Buffered rounds.

    [Fact]
    public void What_a_buffer_holds_is_confirmed_under_the_round_it_was_begun_in()
    {
        var plan = Plan.With(strategy => strategy with { Trigger = new() { Rule = TriggerRule.Buffered, BufferSize = 2 } });
        var run = InRound1(plan).Train(1, "d", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));

        run.Train(1, "a").On(new RoundEvent.ClientReported(Trained(2, "b")));

        Assert.Equal(["persist", "confirm east"], run.Effects);
        var (site, question) = Assert.Single(
            ConfirmationBuilder.Build(plan, run.State, new RoundMachine(plan).Waiting(run.State), ["east"]));
        Assert.Equal(("east", 2, 1), (site, question.Round, question.Attempt));
        Assert.Equal([("a", 1, 1), ("b", 2, 1)], question.Clients.Select(static client => (client.ClientId, client.Round, client.Attempt)));
    }

    [Fact]
    public void A_buffered_client_whose_files_are_gone_does_the_same_work_again()
    {
        var plan = Plan.With(strategy => strategy with { Trigger = new() { Rule = TriggerRule.Buffered, BufferSize = 2 } });
        var run = InRound1(plan).Train(1, "d", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"))
            .Train(1, "a").On(new RoundEvent.ClientReported(Trained(2, "b"))).On(run => run.Confirmed("east", "a"));

        Assert.Equal(["persist", "send Train a c d"], run.Effects);
        Assert.Equal(new CarriedWork(1, 1), run.State.WorkOf("a"));
    }

    private static RoundEvent Deadline { get; } = new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Train);

    private static Run InRound1(FederationPlan plan) => new Run(plan).On(new RoundEvent.Started(0, "zero", []));

    private static Run Reported(FederationPlan plan) => InRound1(plan).Train(1, "a", "b", "c", "d");
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class RoundPolicyTests
{
    private static readonly FederationPlan Ten = Of([.. Enumerable.Range(0, 10).Select(i => Client($"c{i}", test: false))]);
    private static readonly FederationPlan Plan = Of([.. "abcd".Select(id => Client($"{id}", test: false))])
        .With(strategy => strategy with { Rounds = 5 });

    // Over-selection.

    [Fact]
    public void More_are_asked_than_needed_and_the_first_close_the_round()
    {
        var run = InRound1(
            Ten.With(strategy => strategy with { Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.5, Overselect = 1.4 } }));
        Assert.Equal((7, 5), (run.State.Cohort.Count, run.State.Wanted));

        run.Train(1, [.. run.State.Cohort.Reverse().Take(4)]);
        Assert.Equal(Phase.Training, run.State.Phase);
        run.Train(1, run.State.Cohort[0]);

        Assert.Equal(Phase.Aggregating, run.Confirm().State.Phase);
        Assert.Equal(run.State.Cohort.Where((_, i) => i is 0 or > 2), run.State.Closed);
    }

    [Fact]
    public void The_quorum_counts_what_is_needed_not_who_was_asked()
    {
        var run = InRound1(
            Ten.With(strategy => strategy with
            {
                Quorum = 0.5, MaxAttempts = 1, Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.4, Overselect = 2 },
            }));
        foreach (var client in run.State.Cohort.Take(6)) run.Fail(1, client, "because");
        Assert.Equal(Phase.Training, run.State.Phase);   // 2 of 4 may still come

        run.Fail(1, run.State.Cohort[6], "because");

        Assert.Equal(Phase.Failed, run.State.Phase);
    }

    // Buffered rounds.

    private static FederationPlan Buffered(int size, int? concurrency = null, int? maxStaleness = null) =>
        Plan.With(strategy => strategy with
        {
            Trigger = new() { Rule = TriggerRule.Buffered, BufferSize = size, Concurrency = concurrency, MaxStaleness = maxStaleness },
        });

    [Fact]
    public void A_full_buffer_closes_the_round_and_the_others_go_on()
    {
        var run = InRound1(Buffered(2)).Train(1, "d", "b").Confirm();
        Assert.Equal(["persist", "aggregate b d"], run.Effects);

        run.On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));

        Assert.Equal(["persist", "send Train a b c d"], run.Effects);
        Assert.Equal(
            [("a", new CarriedWork(1, 1)), ("b", new CarriedWork(2, 1)), ("c", new CarriedWork(1, 1)), ("d", new CarriedWork(2, 1))],
            run.State.Cohort.Select(client => (client, run.State.WorkOf(client))));
    }

    [Fact]
    public void Work_from_an_earlier_round_is_aggregated_with_its_staleness()
    {
        var run = InRound1(Buffered(2)).Train(1, "d", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));

        run.Train(1, "a").On(new RoundEvent.ClientReported(Trained(2, "b")));

        Assert.Equal(["persist", "aggregate a b"], run.Confirm().Effects);
        Assert.Equal([1, 0], FedRLora.Federation.Aggregation.Weights.Staleness(run.State, run.State.Closed!));
    }

    [Fact]
    public void A_report_of_another_round_than_its_work_changes_nothing()
    {
        var run = InRound1(Buffered(2)).Train(1, "d", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));
        var before = run.State;

        run.On(new RoundEvent.ClientReported(Trained(2, "a")), new RoundEvent.ClientReported(Trained(1, "b")));

        Assert.Same(before, run.State);
    }

    [Fact]
    public void Work_that_became_too_old_is_given_up()
    {
        var run = InRound1(Buffered(1, maxStaleness: 1));
        foreach (var round in new[] { 1, 2 })
            run.On(new RoundEvent.ClientReported(Trained(round, "b"))).Confirm()
                .On(new RoundEvent.Aggregated(round, 1, Candidate(round)), new RoundEvent.Committed(round, $"{round}"));

        Assert.Equal(new CarriedWork(3, 1), run.State.WorkOf("a"));   // from round 1 it would be of staleness 2
    }

    [Fact]
    public void So_many_clients_work_at_a_time_and_a_free_place_is_drawn_among_the_idle()
    {
        var run = InRound1(Buffered(1, concurrency: 2));
        Assert.Equal(2, run.State.Cohort.Count);
        var (first, second) = (run.State.Cohort[0], run.State.Cohort[1]);

        run.Train(1, first).Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));

        Assert.Equal(2, run.State.Cohort.Count);
        Assert.Contains(second, run.State.Cohort);
        Assert.Equal([second], run.State.Carried.Keys);
    }

    [Fact]
    public void A_buffered_round_that_is_tried_again_keeps_what_has_come_and_who_is_at_work()
    {
        var run = InRound1(Buffered(3)).Train(1, "a").Fail(1, "b", "because").Fail(1, "c", "because");   // 2 of 3 can still come

        Assert.Equal(2, run.State.Attempt);
        Assert.Equal(["persist", "send Train b c d"], run.Effects);
        Assert.Equal(["a"], run.State.Reports.Keys);
        Assert.Equal([new(1, 1), new(1, 2), new(1, 2), new CarriedWork(1, 1)], run.State.Cohort.Select(run.State.WorkOf));
    }

    [Fact]
    public void A_crash_after_the_commit_keeps_the_work_that_goes_on()
    {
        var run = InRound1(Buffered(2)).Train(1, "d", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Started(1, "one", []));
        Assert.Equal(["a", "c"], run.State.Carried.Keys.Order());
    }

    // Time budgets.

    private static readonly FederationPlan Budgeted = Plan.With(strategy =>
        strategy with { Quorum = 0.5, TimeBudget = new() { Factor = 3, AtLeast = TimeSpan.FromSeconds(4) } });

    [Fact]
    public void Nobody_is_hurried_before_its_time_is_known()
    {
        var run = InRound1(Budgeted);
        Assert.Equal(["persist", "send Train a b c d"], run.Effects);
    }

    [Fact]
    public void A_budget_is_a_multiple_of_the_usual_time_and_never_too_short()
    {
        var run = InRound1(Budgeted).Took(1, "a").Took(2, "b").Took(10, "c").Took(20, "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));
        Assert.Equal(["persist", "send Train a b c d", "budget 2/1 in 4 at 4"], run.Effects);

        run.On(new RoundEvent.BudgetPassed(2, 1, 4));   // a leaves

        Assert.Equal(["persist later", "budget 2/1 in 2 at 6"], run.Effects);
        Assert.Equal(["a"], run.State.Dropped);
    }

    [Fact]
    public void What_work_waits_for_the_device_is_no_slowness_of_the_client_and_is_not_multiplied()
    {
        // Twenty seconds each, of which d worked for 20 and the others for 2.
        var run = InRound1(Budgeted).Took(20, "a", waited: 18).Took(20, "b", waited: 18).Took(20, "c", waited: 18).Took(20, "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));
        Assert.Equal([2, 2, 2, 20], run.State.UsualSeconds.OrderBy(static one => one.Key).Select(static one => one.Value));

        // 3 x 2 of work beside the usual wait of 18 s.
        Assert.Equal(["persist", "send Train a b c d", "budget 2/1 in 24 at 24"], run.Effects);
        run.On(new RoundEvent.BudgetPassed(2, 1, 24));
        Assert.Equal(["a", "b"], run.State.Dropped);
        Assert.Equal(6, run.State.UsualSeconds["a"]); // what it needed at least
    }

    [Theory]
    [InlineData(double.NaN, 2, 0)]
    [InlineData(-5, 2, 0)]
    [InlineData(double.PositiveInfinity, 0, 2)]
    public void A_wait_that_cannot_be_is_learned_as_one_that_can(double waited, double work, double wait)
    {
        var run = InRound1(Budgeted).Took(2, "a", waited);
        Assert.Equal((work, wait), (run.State.UsualSeconds["a"], run.State.UsualWaits["a"]));
    }

    [Fact]
    public void Who_had_to_be_waited_for_leaves_when_another_report_makes_the_quorum()
    {
        var run = InRound1(Budgeted.With(strategy => strategy with { Quorum = 0.75 })).Took(1, "a").Took(1, "b").Took(1, "c").Took(1, "d")
            .Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"))
            .Took(1, "c").Took(1, "d").On(new RoundEvent.BudgetPassed(2, 1, 4));
        Assert.Equal(["a"], run.State.Dropped);   // one can be done without, the other is needed

        run.Took(5, "b").Confirm();

        Assert.Equal(["persist", "aggregate b c d"], run.Effects);
    }

    [Fact]
    public void Where_nobody_can_be_done_without_yet_the_next_report_lets_the_slow_go()
    {
        var run = InRound1(Budgeted).Took(1, "a").Took(1, "b").Took(1, "c").Took(1, "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"))
            .On(new RoundEvent.BudgetPassed(2, 1, 4));
        Assert.Equal(["a", "b"], run.State.Dropped);

        run.Took(5, "c");
        Assert.Equal(Phase.Training, run.State.Phase);
        run.Took(6, "d").Confirm();

        Assert.Equal(["persist", "aggregate c d"], run.Effects);
    }

    [Fact]
    public void The_last_straggler_that_leaves_closes_the_round_and_gets_more_time_next_time()
    {
        var run = InRound1(Budgeted).Took(2, "a").Took(2, "b").Took(2, "c").Took(2, "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"))
            .Took(2, "a").Took(2, "b").Took(2, "c").On(new RoundEvent.BudgetPassed(2, 1, 6));

        Assert.Equal(["persist", "aggregate a b c"], run.Confirm().Effects);
        Assert.Equal(6, run.State.UsualSeconds["d"]);
    }

    // Quarantine.

    private static FederationPlan Strict(int after, int? rounds = null) =>
        Plan.With(strategy => strategy with { Quorum = 0.5, Quarantine = new() { After = after, Rounds = rounds } });

    [Fact]
    public void Refused_updates_in_a_row_put_a_client_into_quarantine()
    {
        var run = InRound1(Strict(after: 2));
        for (var round = 1; round <= 2; round++)
        {
            Assert.Contains("a", run.State.Cohort);
            run.Train(round, "a", "b", "c", "d").Confirm()
                .On(
                    Refused(round, "a"), new RoundEvent.Aggregated(round, 1, Candidate(round)),
                    new RoundEvent.Committed(round, $"{round}"));
        }
        Assert.Equal(["b", "c", "d"], run.State.Cohort);
        Assert.Equal(ClientOutcome.Quarantined, Manifest(run.ToCommit(3), Strict(2)).Clients[0].Outcome);
    }

    [Fact]
    public void An_update_that_is_used_ends_the_count()
    {
        var run = InRound1(Strict(after: 2)).Train(1, "a", "b", "c", "d").Confirm()
            .On(Refused(1, "a"), new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"))
            .Commit(2).Train(3, "a", "b", "c", "d").Confirm()
            .On(Refused(3, "a"), new RoundEvent.Aggregated(3, 1, Candidate(3)), new RoundEvent.Committed(3, "three"));

        Assert.Contains("a", run.State.Cohort);
    }

    [Fact]
    public void A_quarantine_of_so_many_rounds_ends()
    {
        var run = InRound1(Strict(after: 1, rounds: 2)).Train(1, "a", "b", "c", "d").Confirm()
            .On(Refused(1, "a"), new RoundEvent.Aggregated(1, 1, Candidate(1)), new RoundEvent.Committed(1, "one"));
        Assert.DoesNotContain("a", run.State.Cohort);
        Assert.DoesNotContain("a", run.Commit(2).State.Cohort);
        Assert.Contains("a", run.Commit(3).State.Cohort);
    }

    [Fact]
    public void A_manifest_carries_the_standings_over_a_crash_that_lost_the_notes()
    {
        var plan = Strict(after: 2);
        var run = InRound1(plan).Train(1, "a", "b", "c", "d").Confirm().On(Refused(1, "a"), new RoundEvent.Aggregated(1, 1, Candidate(1)));
        var manifest = Manifest(run, plan);
        Assert.Equal((ClientOutcome.Refused, 1), (manifest.Clients[0].Outcome, manifest.Clients[0].Refusals));

        var after = new Run(plan).On(new RoundEvent.Started(1, "one", [], Standings: ClientStanding.Of(manifest)));

        Assert.Equal(run.State.Standings, after.State.Standings);
    }

    [Fact]
    public void Where_everybody_is_in_quarantine_the_job_says_so_and_a_resume_gives_another_chance()
    {
        var plan = Strict(after: 1).With(strategy => strategy with { MaxAttempts = 9 });
        var run = InRound1(plan).Train(1, "a", "b", "c", "d").Confirm().On(Refused(1, "a", "b", "c", "d"));
        Assert.Equal(
            (Phase.Failed, "Round 1 has nobody to select: every client is absent or in quarantine."), (run.State.Phase, run.State.Reason));

        run.On(new RoundEvent.Started(0, "zero", [], Resume: true));

        Assert.Equal(4, run.State.Cohort.Count);
    }

    // Pause, stores, extension.

    [Fact]
    public void A_paused_job_ignores_reports_and_goes_on_where_it_was()
    {
        var run = InRound1(Plan).Train(1, "a").On(new RoundEvent.Paused());
        Assert.Equal(["persist", "stop"], run.Effects);
        Assert.Empty(run.Train(1, "b").Effects);
        Assert.Equal(["persist", "stop"], run.On(new RoundEvent.Started(0, "zero", [])).Effects);   // it stays paused over a restart

        run.On(new RoundEvent.Started(0, "zero", [], Resume: true));

        Assert.Equal(["persist", "send Train b c d"], run.Effects);
    }

    [Fact]
    public void A_client_that_cannot_use_a_store_pauses_the_job()
    {
        var run = InRound1(Plan).On(new RoundEvent.ClientReported(Trained(1, "c") with { StoreTrouble = "no space left" }));
        Assert.Equal((Phase.Paused, "c: no space left"), (run.State.Phase, run.State.Reason));
    }

    [Fact]
    public void A_paused_job_can_be_cancelled() =>
        Assert.Equal(Phase.Cancelled, InRound1(Plan).On(new RoundEvent.Paused(), new RoundEvent.Cancelled()).State.Phase);

    [Fact]
    public void A_finished_job_that_was_extended_goes_on_with_the_next_round()
    {
        var one = Plan.With(strategy => strategy with { Rounds = 1 });
        var state = InRound1(one).Commit(1).State;
        Assert.Equal(Phase.Finished, state.Phase);

        var (next, effects) = new RoundMachine(Plan).Next(RoundMachine.Reopened(state), new RoundEvent.Started(1, "digest 1", []));

        Assert.Equal((Phase.Training, 2), (next.Phase, next.Round));
        Assert.Equal(["persist", "send Train a b c d"], effects.Select(Run.Describe));
    }

    [Fact]
    public void A_round_that_was_open_when_the_run_was_extended_takes_no_report_of_its_earlier_attempt()
    {
        var state = InRound1(Plan).Train(1, "a", "b").State;

        var (next, _) = new RoundMachine(Plan).Next(RoundMachine.Reopened(state), new RoundEvent.Started(0, "zero", []));

        Assert.Equal((1, 2, 0), (next.Round, next.Attempt, next.Reports.Count));
    }

    private static Run InRound1(FederationPlan plan) => new Run(plan).On(new RoundEvent.Started(0, "zero", []));

    private static RoundEvent.AggregationRefused Refused(int round, params string[] clients) =>
        new(round, 1, clients.ToDictionary(client => client, _ => "NaN"));

    private static RoundManifest Manifest(Run run, FederationPlan plan)
    {
        Assert.Equal(Phase.Committing, run.State.Phase);
        var previous = new RoundManifest { Round = run.State.Committed, PlanSha256 = PlanSha256, Shared = new("00", 1), Clients = [] };
        return ManifestBuilder.Build(plan, PlanSha256, previous, run.State);
    }
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class RoundMachineTests
{
    private static readonly FederationPlan Plan = Of("a", "b", "c", "d");
    private static readonly FederationPlan Timed = Plan.With(strategy =>
        strategy with { Quorum = 0.5, Deadline = TimeSpan.FromMinutes(5) });

    // Round 0.

    [Fact]
    public void Round_0_trains_nobody_and_scores_everybody()
    {
        var run = new Run(Plan).On(Fresh);
        Assert.Equal(["persist", "aggregate"], run.Effects);

        run.On(new RoundEvent.Aggregated(0, 1, Candidate(0)));
        Assert.Equal(["persist", "send Evaluate a b c d"], run.Effects);

        run.Score(0, "a", "b", "c", "d");
        Assert.Equal(["persist", "commit"], run.Effects);
    }

    [Fact]
    public void Round_0_commits_at_once_where_nobody_can_be_scored()
    {
        var run = new Run(Of([Client("a", test: false)])).On(Fresh, new RoundEvent.Aggregated(0, 1, Candidate(0)));
        Assert.Contains("commit", run.Effects);
    }

    [Fact]
    public void Only_clients_with_test_rows_are_scored()
    {
        var run = new Run(Of([Client("a", test: false), Client("b")])).On(Fresh, new RoundEvent.Aggregated(0, 1, Candidate(0)));
        Assert.Contains("send Evaluate b", run.Effects);
    }

    // A round.

    [Fact]
    public void A_round_trains_closes_aggregates_scores_and_commits()
    {
        var run = InRound1(Plan);
        Assert.Equal(["persist", "send Train a b c d"], run.Effects);
        Assert.Equal(["persist later"], run.Train(1, "c").Effects);
        Assert.Equal(["persist", "confirm local"], run.Train(1, "d", "b", "a").Effects);
        Assert.Equal(["persist", "aggregate a b c d"], run.Confirm("local").Effects);
        Assert.Equal(["persist", "send Evaluate a b c d"], run.On(new RoundEvent.Aggregated(1, 1, Candidate(1))).Effects);
        Assert.Equal(["persist", "commit"], run.Score(1, "d", "c", "b", "a").Effects);
        Assert.Equal(["persist", "send Train a b c d"], run.On(new RoundEvent.Committed(1, "one")).Effects);
        Assert.Equal((1, "one", 2, 1), (run.State.Committed, run.State.CommittedSha256, run.State.Round, run.State.Attempt));
    }

    [Fact]
    public void The_last_commit_finishes_the_job()
    {
        var run = InRound1(Plan.With(strategy => strategy with { Rounds = 1 })).ToCommit(1).On(new RoundEvent.Committed(1, "one"));
        Assert.Equal(["persist", "finish"], run.Effects);
        Assert.Equal((Phase.Finished, 1), (run.State.Phase, run.State.Committed));
    }

    [Fact]
    public void A_job_of_no_rounds_finishes_after_its_start_is_scored()
    {
        var run = new Run(Plan.With(strategy => strategy with { Rounds = 0 })).On(Fresh).ToCommit(0)
            .On(new RoundEvent.Committed(0, "zero"));
        Assert.Equal(Phase.Finished, run.State.Phase);
    }

    [Fact]
    public void Only_every_nth_round_and_the_last_are_scored()
    {
        var machine = new RoundMachine(
            Plan.With(strategy => strategy with { Rounds = 7 }) with { Evaluation = new EvaluationSpec { EveryRounds = 3 } });
        Assert.Equal([0, 3, 6, 7], Enumerable.Range(0, 8).Where(machine.IsScored));
    }

    [Fact]
    public void A_round_that_is_not_scored_commits_after_its_aggregation()
    {
        var run = InRound1(Plan with { Evaluation = new EvaluationSpec { EveryRounds = 2 } }).Train(1, "a", "b", "c", "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        Assert.Equal(["persist", "commit"], run.Effects);
    }

    [Fact]
    public void The_attempt_enters_the_draw_of_the_cohort()
    {
        var many = Of([.. Enumerable.Range(0, 40).Select(i => Client($"c{i}"))])
            .With(strategy => strategy with { Selection = new SelectionSpec { Rule = SelectionRule.Uniform, Fraction = 0.5 } });
        var run = InRound1(many);
        var first = run.State.Cohort;
        run.Fail(1, first[0], "because");
        Assert.Equal(2, run.State.Attempt);
        Assert.NotEqual(first, run.State.Cohort);
        Assert.Equal(InRound1(many).State.Cohort, first);
    }

    // Reports that change nothing.

    [Fact]
    public void A_report_that_comes_twice_counts_once()
    {
        var run = InRound1(Plan).Train(1, "a");
        var before = run.State;
        run.Train(1, "a");
        Assert.Same(before, run.State);
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void The_first_of_two_different_reports_counts()
    {
        var run = InRound1(Plan).Train(1, "a").On(new RoundEvent.ClientReported(Trained(1, "a", failure: "late thought")));
        Assert.Null(run.State.Reports["a"].Failure);
    }

    [Theory]
    [InlineData(0, 1, "a", RoundPhase.Train)]
    [InlineData(2, 1, "a", RoundPhase.Train)]
    [InlineData(1, 0, "a", RoundPhase.Train)]
    [InlineData(1, 2, "a", RoundPhase.Train)]
    [InlineData(1, 1, "z", RoundPhase.Train)]
    [InlineData(1, 1, "a", RoundPhase.Evaluate)]
    public void A_report_from_elsewhere_changes_nothing(int round, int attempt, string client, RoundPhase phase)
    {
        var run = InRound1(Plan);
        var before = run.State;
        run.On(new RoundEvent.ClientReported(Trained(round, client, attempt) with { Phase = phase }));
        Assert.Same(before, run.State);
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void A_report_after_the_round_closed_changes_nothing()
    {
        var run = InRound1(Timed).Train(1, "a", "b").On(Deadline(1)).Train(1, "c");
        Assert.Empty(run.Effects);
        Assert.Equal(["a", "b"], run.Confirm().State.Closed);
        Assert.Empty(run.Train(1, "c").Effects);
    }

    [Fact]
    public void A_commit_that_is_reported_twice_counts_once()
    {
        var run = InRound1(Plan).ToCommit(1).On(new RoundEvent.Committed(1, "one"), new RoundEvent.Committed(1, "one"));
        Assert.Empty(run.Effects);
        Assert.Equal((1, 2, 1), (run.State.Committed, run.State.Round, run.State.Attempt));
    }

    [Fact]
    public void An_aggregate_of_an_earlier_attempt_changes_nothing()
    {
        var run = InRound1(Timed).On(Deadline(1)).Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        Assert.Empty(run.Effects);
        Assert.Equal(Phase.Aggregating, run.State.Phase);
    }

    [Fact]
    public void A_training_report_during_scoring_changes_nothing()
    {
        var run = InRound1(Timed).Train(1, "a", "b").On(Deadline(1)).Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)))
            .Train(1, "c");
        Assert.Empty(run.Effects);
        Assert.Empty(run.State.Scores);
    }

    // Deadline, quorum, attempts.

    [Fact]
    public void A_deadline_is_armed_with_the_work_of_each_phase()
    {
        var run = InRound1(Timed);
        Assert.Contains("deadline Train 1/1 00:05:00", run.Effects);
        run.Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        Assert.Contains("deadline Evaluate 1/1 00:05:00", run.Effects);
    }

    [Fact]
    public void A_round_closes_at_its_deadline_without_the_stragglers()
    {
        var run = InRound1(Timed).Train(1, "b", "d").On(Deadline(1));
        Assert.Equal(["persist", "confirm local", "deadline Train 1/1 00:05:00"], run.Effects);
        Assert.Equal(["persist", "aggregate b d"], run.Confirm().Effects);
        Assert.Equal(["b", "d"], run.State.Closed);
    }

    [Fact]
    public void A_round_without_its_quorum_at_the_deadline_is_tried_again()
    {
        var run = InRound1(Timed).Train(1, "b").On(Deadline(1));
        Assert.Equal(2, run.State.Attempt);
        Assert.Empty(run.State.Reports);
        Assert.Equal(["persist", "send Train a b c d", "deadline Train 1/2 00:05:00"], run.Effects);
    }

    [Fact]
    public void A_deadline_of_an_earlier_attempt_changes_nothing()
    {
        var run = InRound1(Timed).On(Deadline(1), Deadline(1));
        Assert.Equal(2, run.State.Attempt);
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void A_training_deadline_during_scoring_changes_nothing()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)), Deadline(1));
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void Scoring_ends_at_its_deadline_with_what_there_is()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1))).Score(1, "a")
            .On(new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Evaluate));
        Assert.Contains("commit", run.Effects);
        Assert.Equal(["a"], run.State.Scores.Keys);
    }

    [Fact]
    public void The_job_fails_when_its_attempts_are_used_up()
    {
        var run = InRound1(Timed).On(Deadline(1)).On(Deadline(1, 2)).Train(1, "b").On(Deadline(1, 3));
        const string Reason = "Round 1 had 1 usable of 4 updates in try 3 of 3, the quorum is 2; 3 silent.";
        Assert.Equal(["persist", "stop", $"fail: {Reason}"], run.Effects);
        Assert.Equal((Phase.Failed, 0, "zero"), (run.State.Phase, run.State.Committed, run.State.CommittedSha256));
    }

    [Theory]
    [InlineData(1.0, 4, 4)]
    [InlineData(0.5, 4, 2)]
    [InlineData(0.5, 5, 3)]
    [InlineData(0.1, 30, 3)]
    [InlineData(0.01, 4, 1)]
    public void The_quorum_is_a_share_of_the_cohort_rounded_up(double quorum, int cohort, int expected) =>
        Assert.Equal(expected, new RoundMachine(Plan.With(strategy => strategy with { Quorum = quorum })).Quorum(cohort));

    // Failures.

    [Fact]
    public void A_failed_client_has_reported_and_the_round_goes_on_without_it()
    {
        var run = InRound1(Timed).Fail(1, "a", "because").Train(1, "b", "c", "d").Confirm();
        Assert.Contains("aggregate b c d", run.Effects);
        Assert.Equal("because", run.State.Reports["a"].Failure);
    }

    [Fact]
    public void A_round_whose_quorum_is_out_of_reach_does_not_wait_for_the_rest()
    {
        var run = InRound1(Plan).Fail(1, "a", "because");
        Assert.Equal(2, run.State.Attempt);
    }

    [Fact]
    public void The_reason_of_a_failed_job_names_the_failed_clients()
    {
        var run = InRound1(Plan.With(strategy => strategy with { MaxAttempts = 1 })).Fail(1, "b", "out of memory");
        Assert.Equal(
            "Round 1 had 0 usable of 4 updates in try 1 of 1, the quorum is 4; 3 still at work. b: out of memory", run.State.Reason);
    }

    [Fact]
    public void A_report_without_finite_numbers_is_a_failure()
    {
        var report = Trained(1, "a").With(static numbers => numbers with { MeanLoss = double.NaN });
        var run = InRound1(Timed).On(new RoundEvent.ClientReported(report));
        Assert.Equal("Its mean loss is NaN.", run.State.Reports["a"].Failure);
    }

    [Fact]
    public void A_failed_scoring_is_data()
    {
        var run = InRound1(Plan).Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)))
            .Score(1, "a", "b", "c")
            .On(new RoundEvent.ClientReported(Scored(1, "d", failure: "no rows")));
        Assert.Contains("commit", run.Effects);
        Assert.Equal(new KeptScore(null, "no rows"), run.State.Scores["d"]);
    }

    [Fact]
    public void A_score_that_is_not_finite_is_a_failed_scoring()
    {
        var endless = Scored(0, "a") with
        {
            Score = new ClientScore { Metric = "perplexity", Value = double.PositiveInfinity, Loss = 800, Rows = 1 },
        };
        var run = new Run(Plan).On(Fresh, new RoundEvent.Aggregated(0, 1, Candidate(0)), new RoundEvent.ClientReported(endless));
        Assert.Equal(new KeptScore(null, "Its perplexity is Infinity, its loss 800."), run.State.Scores["a"]);
    }

    [Fact]
    public void What_stands_beside_a_score_and_is_not_finite_is_not_known_and_the_round_is_written_down()
    {
        var beside = Scored(0, "a") with
        {
            Score = new ClientScore
            {
                Metric = "perplexity", Value = 3, Loss = 1, Rows = 1, MajorityShare = double.NaN, StandardError = double.NaN,
                Base = new() { Reference = double.PositiveInfinity },
            },
        };
        var plan = Of([Client("a")]);
        var run = new Run(plan).On(Fresh, new RoundEvent.Aggregated(0, 1, Candidate(0)), new RoundEvent.ClientReported(beside));

        var manifest = ManifestBuilder.Build(plan, "plan", null, run.State);
        var score = RoundManifest.Parse(manifest.ToBytes(), "manifest").Clients[0].Score!;
        Assert.Equal((3, null, null, null), (score.Value, score.MajorityShare, score.StandardError, score.Base));
    }

    [Fact]
    public void A_refused_update_leaves_the_round()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c", "d").Confirm().On(Refused("c"));
        Assert.Equal(["persist", "aggregate a b d"], run.Effects);
        Assert.Equal("NaN", run.State.Reports["c"].Failure);
    }

    [Fact]
    public void A_refusal_that_comes_twice_counts_once()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c", "d").Confirm().On(Refused("c"), Refused("c"));
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void Refused_updates_that_break_the_quorum_start_another_attempt()
    {
        var run = InRound1(Timed).Train(1, "a", "b", "c", "d").Confirm().On(Refused("a", "b", "c"));
        Assert.Equal((Phase.Training, 2), (run.State.Phase, run.State.Attempt));
    }

    [Fact]
    public void A_broken_coordinator_fails_the_job_with_its_reason()
    {
        var run = new Run(Plan).On(Fresh, new RoundEvent.Broken("model/config.json is missing."));
        Assert.Contains("fail: model/config.json is missing.", run.Effects);
    }

    // Sites.

    [Fact]
    public void A_lost_site_changes_nothing_where_the_plan_waits()
    {
        var run = InRound1(TwoSites(SiteLoss.Wait)).Train(1, "a", "b");
        run.On(new RoundEvent.SiteLost("west"));
        Assert.Empty(run.Effects);
    }

    [Fact]
    public void A_lost_site_leaves_the_round_if_the_quorum_holds()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).Train(1, "a", "b").On(new RoundEvent.SiteLost("west"));
        Assert.Equal(["persist", "confirm east"], run.Effects);
        Assert.Contains("aggregate a b", run.Confirm().Effects);
    }

    [Fact]
    public void A_report_that_was_in_before_its_site_was_lost_does_not_count()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).Train(1, "a", "b", "c").On(new RoundEvent.SiteLost("west"));
        Assert.Contains("aggregate a b", run.Confirm().Effects);
    }

    [Fact]
    public void A_lost_site_is_waited_for_if_the_quorum_needs_it()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue).With(strategy => strategy with { Quorum = 1 })).Train(1, "a", "b")
            .On(new RoundEvent.SiteLost("west"));
        Assert.Equal(Phase.Training, run.State.Phase);
        Assert.Contains("aggregate a b c d", run.On(new RoundEvent.SiteReturned("west")).Train(1, "c", "d").Confirm().Effects);
    }

    [Fact]
    public void A_lost_site_rejoins_at_the_next_round()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).On(new RoundEvent.SiteLost("west")).Train(1, "a", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        run.Score(1, "a", "b").On(new RoundEvent.SiteReturned("west"), new RoundEvent.Committed(1, "one"));
        Assert.Equal(["a", "b", "c", "d"], run.State.Cohort);
    }

    [Fact]
    public void A_site_that_is_still_lost_is_not_selected()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).On(new RoundEvent.SiteLost("west")).Train(1, "a", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        run.Score(1, "a", "b").On(new RoundEvent.Committed(1, "one"));
        Assert.Equal(["a", "b"], run.State.Cohort);
    }

    [Fact]
    public void Scoring_does_not_wait_for_a_lost_site()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).Train(1, "a", "b", "c", "d").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1))).Score(1, "a", "b");
        Assert.Contains("commit", run.On(new RoundEvent.SiteLost("west")).Effects);
    }

    [Fact]
    public void A_returned_site_is_asked_again()
    {
        var run = InRound1(TwoSites(SiteLoss.Wait)).Train(1, "c").On(new RoundEvent.SiteReturned("west"));
        Assert.Equal(["send Train d"], run.Effects);
    }

    [Fact]
    public void Only_the_silent_are_asked_again()
    {
        var run = InRound1(Plan).Train(1, "a", "c").On(new RoundEvent.ResendDue());
        Assert.Equal(["send Train b d"], run.Effects);
    }

    // Cancel, resume, crash.

    [Fact]
    public void Cancel_stops_the_work_and_nothing_moves_any_more()
    {
        var run = InRound1(Plan).On(new RoundEvent.Cancelled());
        Assert.Equal(["persist", "stop"], run.Effects);
        Assert.Empty(run.Train(1, "a", "b", "c", "d").Effects);
    }

    [Fact]
    public void A_commit_that_was_under_way_when_the_job_was_cancelled_counts()
    {
        var run = InRound1(Plan).ToCommit(1).On(new RoundEvent.Cancelled(), new RoundEvent.Committed(1, "one"));
        Assert.Equal((Phase.Cancelled, 1), (run.State.Phase, run.State.Committed));
    }

    [Fact]
    public void A_cancelled_job_stays_cancelled_when_it_is_revived()
    {
        var run = InRound1(Plan).On(new RoundEvent.Cancelled(), new RoundEvent.Started(0, "zero", []));
        Assert.Equal(Phase.Cancelled, run.State.Phase);
    }

    [Fact]
    public void A_cancelled_round_resumes_with_the_silent()
    {
        var run = InRound1(Plan).Train(1, "a", "b").On(new RoundEvent.Cancelled(), new RoundEvent.Started(0, "zero", [], Resume: true));
        Assert.Equal(["persist", "send Train c d"], run.Effects);
        Assert.Equal(1, run.State.Attempt);
    }

    [Fact]
    public void A_failed_job_resumes_with_an_attempt_that_was_never_used()
    {
        var run = InRound1(Plan.With(strategy => strategy with { MaxAttempts = 1 })).Fail(1, "a", "because")
            .On(new RoundEvent.Started(0, "zero", [], Resume: true));
        Assert.Equal((Phase.Training, 2, 1), (run.State.Phase, run.State.Attempt, run.State.Tries));
        Assert.Null(run.State.Reason);
    }

    [Fact]
    public void A_crash_in_training_asks_the_silent_again()
    {
        var run = InRound1(Timed).Train(1, "a").On(new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "send Train b c d", "deadline Train 1/1 00:05:00"], run.Effects);
    }

    [Fact]
    public void A_site_that_was_lost_in_the_crash_leaves_the_round()
    {
        var run = InRound1(TwoSites(SiteLoss.Continue)).Train(1, "a", "b").On(new RoundEvent.Started(0, "zero", ["west"]));
        Assert.Contains("aggregate a b", run.Confirm().Effects);
    }

    [Fact]
    public void A_crash_in_aggregation_aggregates_the_same_closed_cohort()
    {
        var run = InRound1(Timed).Train(1, "a", "b").On(Deadline(1)).Confirm().On(new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "aggregate a b"], run.Effects);
    }

    [Fact]
    public void A_crash_in_scoring_asks_the_silent_again()
    {
        var run = InRound1(Plan).Train(1, "a", "b", "c", "d").Confirm().On(new RoundEvent.Aggregated(1, 1, Candidate(1)))
            .Score(1, "a", "b", "c").On(new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "send Evaluate d"], run.Effects);
    }

    [Fact]
    public void A_crash_before_the_commit_commits_again()
    {
        var run = InRound1(Plan).ToCommit(1).On(new RoundEvent.Started(0, "zero", []));
        Assert.Equal(["persist", "commit"], run.Effects);
    }

    [Fact]
    public void A_crash_after_the_commit_drops_the_rounds_notes()
    {
        var run = InRound1(Plan).ToCommit(1).On(new RoundEvent.Started(1, "one", []));
        Assert.Equal((2, 1, "one", Phase.Training), (run.State.Round, run.State.Committed, run.State.CommittedSha256, run.State.Phase));
        Assert.Null(run.State.Candidate);
    }

    [Fact]
    public void A_crash_in_round_0_aggregates_again()
    {
        var run = new Run(Plan).On(Fresh, Fresh);
        Assert.Equal(["persist", "aggregate"], run.Effects);
    }

    [Fact]
    public void A_crash_after_the_last_commit_finishes_again()
    {
        var run = new Run(Plan).On(new RoundEvent.Started(2, "two", []));
        Assert.Equal(["persist", "finish"], run.Effects);
    }

    [Fact]
    public void A_conflict_forgets_everything_and_writes_nothing()
    {
        var run = InRound1(Plan).ToCommit(1).On(new RoundEvent.CommitConflict());
        Assert.Equal(["deactivate"], run.Effects);
        Assert.Same(RoundState.Initial, run.State);
    }

    [Fact]
    public void Several_events_are_written_once_and_first()
    {
        var (state, effects) = new RoundMachine(Plan)
            .Next(InRound1(Plan).State, new[] { "a", "b", "c", "d" }.Select(client => new RoundEvent.ClientReported(Trained(1, client))));
        Assert.Equal(Phase.Confirming, state.Phase);
        Assert.Equal(["persist", "confirm local"], effects.Select(Run.Describe));
    }

    // The parts of a test.

    private static RoundEvent Fresh { get; } = new RoundEvent.Started(-1, null, []);

    private static Run InRound1(FederationPlan plan) => new Run(plan).On(new RoundEvent.Started(0, "zero", []));

    private static RoundEvent.DeadlinePassed Deadline(int round, int attempt = 1) => new(round, attempt, RoundPhase.Train);

    private static RoundEvent.AggregationRefused Refused(params string[] clients) =>
        new(1, 1, clients.ToDictionary(client => client, _ => "NaN"));

    private static FederationPlan TwoSites(SiteLoss loss) =>
        Of([Client("a", "east"), Client("b", "east"), Client("c", "west"), Client("d", "west")])
        .With(strategy => strategy with { Quorum = 0.5, SiteLoss = loss });
}

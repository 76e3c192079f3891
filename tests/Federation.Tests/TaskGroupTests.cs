using System.Collections.Immutable;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>Selection, quorum and time budgets among the clients of a task that share a tensor of scope task.</summary>
public class TaskGroupTests
{
    // Six clients of "many", two of "few".
    private static readonly FederationPlan Plan = Shared(Of(
        [.. "abcdefgh".Select(static (id, i) => Client($"{id}", site: i < 4 ? "north" : "south", task: i is 3 or 7 ? "few" : "many"))]));

    private static readonly FederationPlan Drawn = Plan.With(static strategy =>
        strategy with { Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.5, Overselect = 1.5 } });

    [Fact]
    public void Without_a_tensor_of_scope_task_there_are_no_groups()
    {
        Assert.Empty(TaskGroups.Of(Of("a", "b")).Members);
        Assert.Equal(["few", "many"], TaskGroups.Of(Plan).Members.Keys);
        Assert.Equal(["d", "h"], TaskGroups.Of(Plan).Members["few"]);
    }

    [Fact]
    public void Who_is_asked_beyond_those_wanted_is_of_a_task_that_is_wanted()
    {
        for (var seed = 0UL; seed < 50; seed++)
        {
            var state = InRound1(Drawn with { Seed = seed }).State;
            Assert.Equal(4, state.WantedOf.Values.Sum());
            foreach (var (task, wanted) in state.WantedOf)
            {
                var members = TaskGroups.Of(Plan).Members[task];
                Assert.Equal(Math.Min(members.Count, (int)Math.Ceiling(1.5 * wanted)), state.Cohort.Count(members.Contains));
            }
        }
    }

    [Fact]
    public void Of_one_task_the_same_clients_are_asked_as_with_everything_shared()
    {
        ClientSpec[] clients = [.. Enumerable.Range(0, 10).Select(static i => Client($"c{i}"))];
        var shared = Of(clients).With(static strategy =>
            strategy with { Selection = new() { Rule = SelectionRule.Uniform, Fraction = 0.4, Overselect = 1.6 } });
        for (var seed = 0UL; seed < 50; seed++)
        {
            var plan = shared with { Seed = seed };
            Assert.Equal(InRound1(plan).State.Cohort, InRound1(Shared(plan)).State.Cohort);
        }
    }

    [Fact]
    public void A_round_closes_at_once_when_each_task_has_as_many_as_were_wanted()
    {
        var run = InRound1(Drawn with { Seed = 1 });
        Assert.True(run.State.WantedOf["few"] == 1, "a seed that draws one of few");
        string[] many = [.. run.State.Cohort.Except(["d", "h"])], few = [.. run.State.Cohort.Intersect(["d", "h"])];

        run.Train(1, many);
        Assert.True(many.Length >= run.State.Wanted);
        Assert.Equal(Phase.Training, run.State.Phase); // of many more than wanted, of few nobody
        run.Train(1, few[0]);

        Assert.Equal(Phase.Confirming, run.State.Phase);
    }

    [Fact]
    public void A_round_goes_on_without_a_task_that_misses_its_quorum()
    {
        var run = InRound1(Plan.With(static strategy => strategy with { Quorum = 0.75, Deadline = TimeSpan.FromMinutes(1) }))
            .Train(1, "a", "b", "c", "d", "e", "f").On(new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Train)).Confirm();

        Assert.Equal(Phase.Aggregating, run.State.Phase);
        Assert.Equal((5, 2), (new RoundMachine(Plan75).QuorumOf(run.State, "many"), new RoundMachine(Plan75).QuorumOf(run.State, "few")));
    }

    private static FederationPlan Plan75 => Plan.With(static strategy => strategy with { Quorum = 0.75 });

    [Fact]
    public void A_slow_client_stays_where_its_task_would_miss_its_quorum()
    {
        var budgeted = Plan.With(static strategy =>
            strategy with { Quorum = 0.7, TimeBudget = new() { Factor = 3, AtLeast = TimeSpan.FromSeconds(4) } });
        var run = InRound1(budgeted);
        foreach (var client in "abcdefgh") run.Took(1, $"{client}");
        run.Confirm().On(Aggregated(1)).Score(1, "a", "b", "c", "d", "e", "f", "g", "h").On(new RoundEvent.Committed(1, "one"));
        foreach (var client in "bcdef") run.Took(1, $"{client}");

        run.On(new RoundEvent.BudgetPassed(2, 1, 4)); // a, g and h are late: two can go, but not h, one of two

        Assert.Equal(["a"], run.State.Dropped);
        Assert.Equal(Phase.Training, run.State.Phase);
    }

    [Fact]
    public void A_buffered_round_closes_with_what_has_come_whatever_the_task()
    {
        var run = InRound1(Plan.With(static strategy => strategy with { Trigger = new() { Rule = TriggerRule.Buffered, BufferSize = 2 } }));
        Assert.Empty(run.State.WantedOf);

        run.Train(1, "a", "b").Confirm();

        Assert.Equal(["a", "b"], run.State.Closed);
        Assert.Equal(1, new RoundMachine(Plan).QuorumOf(run.State, "many"));
    }

    [Fact]
    public void A_site_is_sent_the_states_of_its_own_tasks_alone()
    {
        var states = new SharedStates(
            Blob("A"), ImmutableSortedDictionary<string, BlobRef>.Empty.Add("few", Blob("few")).Add("many", Blob("many")));
        var plan = Shared(Of([Client("a", "north", "many"), Client("b", "north", "many"), Client("c", "south", "few")]));
        var state = InRound1(plan).State;
        var sites = AssignmentBuilder.Build(
            plan, "job", Blob("plan"), null, _ => states, state, new RoundEffect.SendAssignments(RoundPhase.Train, ["a", "b", "c"]));

        Assert.Equal([("many", Blob("many"))], sites[0].Assignment.Tasks.Select(static task => (task.Key, task.Value)));
        Assert.Equal([("few", Blob("few"))], sites[1].Assignment.Tasks.Select(static task => (task.Key, task.Value)));
    }

    [Fact]
    public void The_manifest_names_states_by_task_and_a_kept_one_by_the_round_that_it_was_made_in()
    {
        var machine = new RoundMachine(Plan);
        RoundState Play(RoundState state, params RoundEvent[] events) =>
            events.Aggregate(state, (now, one) => machine.Next(now, one).State);
        var start = Play(RoundState.Initial, new RoundEvent.Started(-1, null, []), new RoundEvent.Aggregated(0, 1, Candidate(0) with
        {
            Tasks = Moved("few", "many"),
        }));
        start = Play(start, [.. "abcdefgh".Select(static id => new RoundEvent.ClientReported(Scored(0, $"{id}")))]);
        var zero = ManifestBuilder.Build(Plan, PlanSha256, null, start);
        var next = Play(start, new RoundEvent.Committed(0, "zero"));
        next = next with { Phase = Phase.Aggregating, Closed = ["a", "b"], Reports = next.Reports.AddRange([Kept("a"), Kept("b")]) };
        next = Play(next, new RoundEvent.Aggregated(1, 1, Candidate(1) with
        {
            Tasks = Moved("many").Add("few", new() { Kept = "none of its clients is in the round" }),
        }));
        var one = ManifestBuilder.Build(Plan, PlanSha256, zero, next);

        Assert.Equal([("few", 0, 0), ("many", 0, 0)], zero.Tasks!.Select(static task => (task.Task, task.Round, task.Version)));
        Assert.Equal([("few", 0, 0), ("many", 1, 1)], one.Tasks!.Select(static task => (task.Task, task.Round, task.Version)));
        Assert.Equal(zero.Tasks![0].Shared, one.Tasks![0].Shared);
        Assert.Equal("none of its clients is in the round", one.Tasks[0].Kept);
        Assert.Equal([0.5, 0.5], one.Clients.Take(2).Select(static client => client.TaskWeight!.Value));
        Assert.Equal(one.ToBytes(), RoundManifest.Parse(one.ToBytes(), "one").ToBytes());
    }

    // A rule per task has one weight for all tensors of an update.
    [Theory]
    [InlineData(false, 0.5)]
    [InlineData(true, 1 / 3.0)]
    public void A_share_in_a_task_is_the_one_that_its_rule_counts_with(bool perTask, double share)
    {
        var plan = Plan.With(strategy => strategy with
        {
            Trigger = new() { Rule = TriggerRule.Buffered }, Aggregation = new() { Rule = "geometricMedian", PerTask = perTask },
        });
        plan = plan with { Adapter = plan.Adapter with { Weighting = Weighting.Staleness } };
        var state = RoundState.Initial with
        {
            Round = 4, Attempt = 1, Closed = ["a", "b"], Cohort = ["a", "b"], Candidate = Candidate(4) with { Tasks = Moved("many") },
            Reports = ImmutableDictionary.CreateRange([Kept("a"), Kept("b")]),
            Carried = ImmutableDictionary<string, CarriedWork>.Empty.Add("a", new(1, 1, Version: 1)), // three rounds ago
            Versions = ImmutableDictionary<string, int>.Empty.Add("many", 1), // which did not move its task
        };
        var weights = ManifestBuilder.Build(plan, PlanSha256, null, state).Clients.ToDictionary(static client => client.Id);

        Assert.Equal(share, weights["a"].TaskWeight!.Value, 12);
        Assert.Equal(1 / 3.0, weights["a"].Weight, 12);
    }

    private static KeyValuePair<string, KeptReport> Kept(string client) => new(client, new() { Numbers = new() { Samples = 10 } });

    private static ImmutableDictionary<string, TaskCandidate> Moved(params string[] tasks) =>
        tasks.ToImmutableDictionary(static task => task, static task => new TaskCandidate { Shared = Blob(task) });

    private static RoundEvent.Aggregated Aggregated(int round) =>
        new(round, 1, Candidate(round) with { Tasks = Moved("few", "many") });

    private static FederationPlan Shared(FederationPlan plan) => plan with
    {
        Adapter = AdapterCatalog.Methods["fedsa-lora"].Spec.With("B", static head => head with { Scope = Scope.Task }),
    };

    private static Run InRound1(FederationPlan plan) => new Run(plan).On(new RoundEvent.Started(0, "zero", []));
}

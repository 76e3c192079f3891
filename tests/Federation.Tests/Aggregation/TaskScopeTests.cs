using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>Tensors of scope task: B here, beside A of scope job.</summary>
public sealed class TaskScopeTests
{
    private static readonly AdapterState StartA = State(("x.A", [0.5f, -1, 3]));
    private static readonly AdapterState StartB = State(("x.B", [0, 0.25f]));

    public static TheoryData<string, bool> Rules
    {
        get
        {
            var rules = new TheoryData<string, bool>();
            foreach (var rule in StrategyRegistry.Aggregations.Keys)
            {
                rules.Add(rule, false);
                if (rule != "mean") rules.Add(rule, true);
            }

            return rules;
        }
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task Of_one_task_A_and_B_are_what_they_are_with_everything_shared(string rule, bool perTask)
    {
        string[] ids = ["a", "b", "c", "d", "e", "f", "g"];
        var plan = Plan(rule, perTask, [.. ids.Select(static id => Client(id))]);
        for (var seed = 1UL; seed <= 20; seed++)
        {
            var updates = Updates(ids, seed);
            int[] staleness = [.. ids.Select((_, i) => i % 3)];
            var shared = await RunAsync(plan, Both(StartA, StartB), ids, updates, staleness);
            var tasks = new Dictionary<string, TaskStart>
            {
                ["task"] = new(StartB) { Staleness = ids.Zip(staleness).ToDictionary(static one => one.First, static one => one.Second) },
            };
            var own = await RunAsync(plan, StartA, ids, updates, staleness, tasks);

            Equal(shared.Shared!, Both(own.Shared!, own.Tasks["task"].Shared!));
            Assert.Equal(shared.Curbed, own.Curbed);
            Assert.Null(own.Tasks["task"].Kept);
        }
    }

    [Theory]
    [InlineData("mean")]
    [InlineData("median")]
    [InlineData("geometricMedian")]
    [InlineData("normBound")]
    public async Task Of_one_client_each_B_moves_by_its_own_update_and_A_is_as_without_B(string rule)
    {
        string[] ids = ["a", "b", "c", "d", "e"];
        var plan = Plan(rule, perTask: false, [.. ids.Select(static id => Client(id, task: $"of {id}"))]);
        var updates = Updates(ids, 3);
        var alone = await RunAsync(plan, StartA, ids, Only(updates, "x.A"));
        var own = await RunAsync(plan, StartA, ids, updates,
            tasks: ids.ToDictionary(static id => $"of {id}", static _ => new TaskStart(StartB)));

        Equal(alone.Shared!, own.Shared!);
        foreach (var id in ids)
        {
            var expected = StartB["x.B"].Data.Zip(updates[id]["x.B"].Data, static (before, update) => (float)((double)before + update));
            Assert.Equal(expected, own.Tasks[$"of {id}"].Shared!["x.B"].Data);
        }
    }

    [Fact]
    public async Task A_task_is_what_it_would_be_without_the_others()
    {
        ClientSpec[] clients = [.. "abcdef".Select(static (id, i) => Client($"{id}", task: i % 2 == 0 ? "even" : "odd"))];
        string[] ids = [.. clients.Select(static client => client.Id)];
        var plan = Plan("mean", perTask: false, clients);
        var updates = Updates(ids, 9);
        var own = await RunAsync(plan, StartA, ids, updates, tasks: Tasks("even", "odd"));
        var even = await RunAsync(
            plan, State(), ["a", "c", "e"], Only(updates, "x.B"), tasks: new Dictionary<string, TaskStart> { ["even"] = new(StartB) });

        Equal(even.Tasks["even"].Shared!, own.Tasks["even"].Shared!);
        Assert.NotEqual(own.Tasks["even"].Shared!["x.B"].Data, own.Tasks["odd"].Shared!["x.B"].Data);
    }

    [Fact]
    public async Task Another_task_of_two_clients_gives_another_result()
    {
        ClientSpec[] clients = [.. "abcd".Select(static (id, i) => Client($"{id}", task: i < 2 ? "one" : "two"))];
        ClientSpec[] swapped = [.. clients.Select(static client => client.Id switch
        {
            "a" => client with { Task = "two" }, "c" => client with { Task = "one" }, _ => client,
        })];
        string[] ids = ["a", "b", "c", "d"];
        var updates = Updates(ids, 5);
        var before = await RunAsync(Plan("mean", false, clients), StartA, ids, updates, tasks: Tasks("one", "two"));
        var after = await RunAsync(Plan("mean", false, swapped), StartA, ids, updates, tasks: Tasks("one", "two"));

        Equal(before.Shared!, after.Shared!);
        Assert.NotEqual(before.Tasks["one"].Shared!["x.B"].Data, after.Tasks["one"].Shared!["x.B"].Data);
    }

    [Fact]
    public async Task A_robust_rule_works_within_a_task()
    {
        ClientSpec[] clients = [.. Enumerable.Range(0, 10).Select(static i => Client($"c{i}", task: i < 5 ? "many" : "other"))];
        string[] ids = [.. clients.Select(static client => client.Id)];
        var updates = ids.ToDictionary(static id => id, static id =>
            Both(State(("x.A", [1, 1, 1])), State(("x.B", id == "c2" ? [1e6f, 1e6f] : [1, 2]))));
        var own = await RunAsync(Plan("median", false, clients), StartA, ids, updates, tasks: Tasks("many", "other"));

        Assert.Equal([1, 2.25f], own.Tasks["many"].Shared!["x.B"].Data);
    }

    [Theory]
    [InlineData("mean", 2, "1 usable update of its clients, its quorum is 2")]
    [InlineData("trimmedMean", 1, "trimmedMean with trim: 0.2 needs at least 5 updates to drop one at each end, there is 1.")]
    public async Task A_task_with_too_few_updates_keeps_its_state_and_says_so(string rule, int quorum, string reason)
    {
        ClientSpec[] clients = [.. Enumerable.Range(0, 6).Select(static i => Client($"c{i}", task: i == 5 ? "few" : "many"))];
        string[] ids = [.. clients.Select(static client => client.Id)];
        var tasks = Tasks("few", "many", "absent").ToDictionary(
            static task => task.Key, task => task.Value with { Quorum = quorum });
        var own = await RunAsync(Plan(rule, false, clients), StartA, ids, Updates(ids, 2), tasks: tasks);

        Assert.Equal(new(null, null, null, reason), own.Tasks["few"]);
        Assert.Equal(new(null, null, null, "none of its clients is in the round"), own.Tasks["absent"]);
        Assert.Null(own.Tasks["many"].Kept);
    }

    [Fact]
    public async Task A_task_whose_clients_were_asked_in_vain_does_not_say_that_they_were_not_in_the_round()
    {
        ClientSpec[] clients = [Client("a", task: "one"), Client("b", task: "two")];
        var tasks = Tasks("one", "two").ToDictionary(static task => task.Key, static task => task.Value with { Asked = 1 });
        var own = await RunAsync(Plan("mean", false, clients), StartA, ["a"], Updates(["a"], 1), tasks: tasks);

        Assert.Equal("no usable update of its clients", own.Tasks["two"].Kept);
    }

    [Fact]
    public async Task Staleness_counts_in_versions_of_the_state_of_the_task()
    {
        ClientSpec[] clients = [Client("a", task: "one"), Client("b", task: "two")];
        var plan = Plan("mean", false, clients).With(static strategy => strategy with { Trigger = new() { Rule = TriggerRule.Buffered } });
        string[] ids = ["a", "b"];
        var updates = ids.ToDictionary(static id => id, static _ => Both(State(("x.A", [1, 1, 1])), State(("x.B", [1, 1]))));
        var tasks = new Dictionary<string, TaskStart>
        {
            ["one"] = new(State(("x.B", [0, 0]))),
            ["two"] = new(State(("x.B", [0, 0]))) { Staleness = new Dictionary<string, int> { ["b"] = 3 } },
        };
        var own = await RunAsync(plan, State(("x.A", [0, 0, 0])), ids, updates, [3, 3], tasks);

        Assert.Equal([0.5f, 0.5f, 0.5f], own.Shared!["x.A"].Data); // (1 + 3)^-0.5
        Assert.Equal([1, 1], own.Tasks["one"].Shared!["x.B"].Data);
        Assert.Equal([0.5f, 0.5f], own.Tasks["two"].Shared!["x.B"].Data);
    }

    [Fact]
    public async Task An_update_without_a_tensor_of_its_task_is_refused()
    {
        var updates = Updates(["a", "b"], 1);
        updates["b"] = StartA;
        var own = await RunAsync(Plan("mean", false, [Client("a"), Client("b")]), StartA, ["a", "b"], updates, tasks: Tasks("task"));

        Assert.Equal(("b", "The update has no tensor x.B."), (own.Refused.Single().Key, own.Refused.Single().Value));
    }

    [Fact]
    public async Task What_a_rule_curbed_in_a_task_is_said_so()
    {
        ClientSpec[] clients = [Client("a", task: "one"), Client("b", task: "two")];
        var updates = new Dictionary<string, AdapterState>
        {
            ["a"] = Both(State(("x.A", [1, 0, 0])), State(("x.B", [10, 0]))),
            ["b"] = Both(State(("x.A", [9, 0, 0])), State(("x.B", [8, 0]))),
        };
        var plan = Plan("normBound", false, clients).With(static strategy =>
            strategy with { Aggregation = strategy.Aggregation with { MaxNorm = 2 } });
        var own = await RunAsync(plan, StartA, ["a", "b"], updates, tasks: Tasks("one", "two"));

        Assert.Equal("in its task shortened from 10 to 2", own.Curbed["a"]);
        Assert.Equal("shortened from 9 to 2; in its task shortened from 8 to 2", own.Curbed["b"]);
    }

    private static FederationPlan Plan(string rule, bool perTask, IReadOnlyList<ClientSpec> clients) => Of(clients)
        .With(strategy => strategy with
        {
            Aggregation = new() { Rule = rule, PerTask = perTask, Byzantine = rule is "krum" or "multiKrum" ? 1 : null },
        }) with { Adapter = AdapterCatalog.Methods["lora"].Spec with { Weighting = Weighting.Samples } };

    private static Dictionary<string, TaskStart> Tasks(params string[] tasks) =>
        tasks.ToDictionary(static task => task, static _ => new TaskStart(StartB));

    private static Dictionary<string, AdapterState> Updates(IEnumerable<string> clients, ulong seed)
    {
        var random = new SplitMix64(seed);
        float Next() => (float)((2 * random.NextUnit()) - 1);
        return clients.ToDictionary(
            static client => client, _ => State(("x.A", [Next(), Next(), Next()]), ("x.B", [Next(), Next()])));
    }

    private static Dictionary<string, AdapterState> Only(Dictionary<string, AdapterState> updates, string name) =>
        updates.ToDictionary(static update => update.Key, update => new AdapterState(update.Value.Where(array => array.Key == name)));

    private static AdapterState Both(AdapterState first, AdapterState second) => new([.. first, .. second]);

    private static Task<CohortAggregate> RunAsync(
        FederationPlan plan, AdapterState global, string[] closed, Dictionary<string, AdapterState> updates, int[]? staleness = null,
        IReadOnlyDictionary<string, TaskStart>? tasks = null) => CohortAggregator.RunAsync(
            plan, 1, global, null, closed,
            closed.ToDictionary(
                static id => id, static id => new KeptReport { Numbers = new() { Samples = 10 + (3 * (id[^1] % 7)) } }),
            (client, _) => HeldUpdate.OpenAsync(updates[client]), staleness, tasks);

    private static void Equal(AdapterState expected, AdapterState actual)
    {
        Assert.Equal(expected.Keys, actual.Keys);
        foreach (var (name, array) in expected) Assert.Equal(array.Data, actual[name].Data);
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>A of scope job trains in odd rounds, B of scope task in even ones; what else a shared state holds is carried.</summary>
public sealed class MovingTests
{
    private static readonly AdapterState Job = State(("x.A", [0.5f, -1]), ("x.linksA", [0.1f, 0.3f]));
    private static readonly AdapterState OfTask = State(("x.B", [0.25f]), ("x.linksB", [0.7f]));
    private static readonly string[] Ids = ["a", "b", "c", "d", "e"];

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
    public async Task A_round_moves_what_trains_in_it_and_carries_the_rest(string rule, bool perTask)
    {
        var odd = await RunAsync(Plan(rule, perTask), 1, State(("x.A", [0.5f, 0.5f])));
        var even = await RunAsync(Plan(rule, perTask), 2, State(("x.B", [0.5f])));

        Assert.Equal([1, -0.5f], odd.Shared!["x.A"].Data);
        Assert.Same(Job["x.linksA"].Data, odd.Shared["x.linksA"].Data);
        Equal(OfTask, odd.Tasks["task"].Shared!);
        Assert.Equal(1, odd.Coherence!.Value, 1e-9);
        Assert.Null(odd.Tasks["task"].Kept);
        Equal(Job, even.Shared!);
        Assert.Equal([0.75f], even.Tasks["task"].Shared!["x.B"].Data);
        Assert.Same(OfTask["x.linksB"].Data, even.Tasks["task"].Shared!["x.linksB"].Data);
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task A_round_in_which_nothing_shared_moves_commits_the_same_values(string rule, bool perTask)
    {
        foreach (var weighting in Enum.GetValues<Weighting>())
        {
            foreach (var norm in (double?[])[null, 2])
            {
                if (norm is not null && rule != "normBound") continue;
                var plan = Plan(rule, perTask).With(strategy =>
                    strategy with { Aggregation = strategy.Aggregation with { MaxNorm = norm } });
                plan = plan with
                {
                    Adapter = plan.Adapter with
                    {
                        Weighting = weighting, Lifecycle = [new(RoundSet.Parse("all")!, new LifecycleAction.Train(["router"]))],
                    },
                };
                var after = await RunAsync(plan, 1, AdapterState.Empty);

                Equal(Job, after.Shared!);
                Equal(OfTask, after.Tasks["task"].Shared!);
                Assert.Null(after.Coherence);
                Assert.Empty(after.Curbed);
            }
        }
    }

    [Fact]
    public async Task An_update_with_a_tensor_that_does_not_move_in_its_round_is_refused() =>
        Assert.Equal(
            "The update has tensor x.B, which no client sends in this round.",
            (await RunAsync(Plan("mean", false), 1, State(("x.A", [1, 1]), ("x.B", [1])))).Refused["a"]);

    [Fact]
    public async Task An_update_without_a_tensor_that_moves_is_refused() =>
        Assert.Equal("The update has no tensor x.A.", (await RunAsync(Plan("mean", false), 1, State(("x.B", [1])))).Refused["a"]);

    [Fact]
    public async Task The_server_optimizer_steps_what_moves_and_remembers_the_rest()
    {
        var plan = Plan("mean", false).With(static strategy => strategy with { ServerOptimizer = new() { Rule = "adam" } });
        var first = await RunAsync(plan, 1, State(("x.A", [0.5f, 0.5f])));
        var second = await RunAsync(plan, 2, State(("x.B", [0.5f])), first);

        Assert.Equal(["adam/m/x.A", "adam/v/x.A"], first.ServerOptimizer!.Keys);
        Equal(first.ServerOptimizer, second.ServerOptimizer!);
        Equal(first.Shared!, second.Shared!);
        Assert.Equal(["adam/m/x.B", "adam/v/x.B"], second.Tasks["task"].ServerOptimizer!.Keys);
    }

    [Fact]
    public async Task What_a_server_optimizer_remembers_has_to_be_finite()
    {
        var plan = Plan("mean", false).With(static strategy => strategy with { ServerOptimizer = new() { Rule = "adagrad" } });
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => RunAsync(plan, 1, State(("x.A", [1e25f, 0]))));

        Assert.Contains("adagrad/v/x.A", error.Message, StringComparison.Ordinal);
    }

    private static FederationPlan Plan(string rule, bool perTask) => Of(Ids).With(strategy => strategy with
    {
        Rounds = 4,
        Aggregation = new() { Rule = rule, PerTask = perTask, Byzantine = rule is "krum" or "multiKrum" ? 1 : null },
    }) with
    {
        Adapter = new AdapterSpec
        {
            Lifecycle =
            [
                new(RoundSet.Parse("odd")!, new LifecycleAction.Train(["A"])),
                new(RoundSet.Parse("even")!, new LifecycleAction.Train(["B"])),
            ],
        }.With("B", static tensor => tensor with { Scope = Scope.Task }),
    };

    private static Task<CohortAggregate> RunAsync(FederationPlan plan, int round, AdapterState update, CohortAggregate? before = null)
    {
        var ofTask = before?.Tasks["task"];
        return CohortAggregator.RunAsync(
            plan, round, before?.Shared ?? Job, before?.ServerOptimizer, Ids,
            Ids.ToDictionary(static id => id, static _ => new KeptReport()),
            (_, _) => HeldUpdate.OpenAsync(update),
            tasks: new Dictionary<string, TaskStart> { ["task"] = new(ofTask?.Shared ?? OfTask, ofTask?.ServerOptimizer) });
    }

    private static void Equal(AdapterState expected, AdapterState actual)
    {
        Assert.Equal(expected.Keys, actual.Keys);
        foreach (var (name, array) in expected) Assert.Equal(array.Data, actual[name].Data);
    }
}

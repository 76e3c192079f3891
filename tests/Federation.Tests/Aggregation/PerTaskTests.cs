using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>Robust rules among the clients of a task, and what a cohort tells of its rule.</summary>
public sealed class PerTaskTests
{
    // Five clients of one task pull along the first coordinate, three of another along the second.
    private static readonly ClientSpec[] Clients =
    [
        .. Enumerable.Range(0, 8).Select(static i => Client($"c{i}", task: i % 3 == 2 || i == 7 ? "few" : "many")),
    ];

    [Theory]
    [InlineData("median", 0f)]
    [InlineData("krum", 0f)]
    public async Task Across_tasks_a_robust_rule_removes_the_minority_task(string rule, float expected) =>
        Assert.Equal(expected, (await RunAsync(new() { Rule = rule, Byzantine = rule == "krum" ? 2 : null })).Shared!["A"].Data[1]);

    [Theory]
    [InlineData("median")]
    [InlineData("krum")]
    [InlineData("geometricMedian")]
    public async Task Per_task_the_minority_task_keeps_its_share(string rule)
    {
        var aggregate = await RunAsync(new() { Rule = rule, Byzantine = rule == "krum" ? 0 : null, PerTask = true });

        Assert.Equal(0.5f, aggregate.Shared!["A"].Data[0], 1e-5f);   // uniform per task, by default
        Assert.Equal(0.5f, aggregate.Shared["A"].Data[1], 1e-5f);
    }

    [Fact]
    public async Task A_task_weighs_what_its_clients_weigh()
    {
        var aggregate = await RunAsync(new() { Rule = "median", PerTask = true }, Weighting.Uniform);

        Assert.Equal(5 / 8f, aggregate.Shared!["A"].Data[0], 1e-6f);
        Assert.Equal(3 / 8f, aggregate.Shared["A"].Data[1], 1e-6f);
    }

    /// <summary>Of heads that are still zero, for example.</summary>
    [Fact]
    public async Task A_task_without_weight_moves_nothing_and_stops_nothing()
    {
        var aggregate = await RunAsync(new() { Rule = "normBound", MaxNorm = 9, PerTask = true }, Weighting.ProductNorm, norm: "many");

        Assert.Equal([1f, 0f], aggregate.Shared!["A"].Data);
    }

    [Fact]
    public async Task What_a_rule_left_out_of_a_task_is_named_by_client()
    {
        var aggregate = await RunAsync(new() { Rule = "normBound", MaxNorm = 2, PerTask = true }, hostile: "c3");

        var (client, reason) = Assert.Single(aggregate.Curbed);
        Assert.Equal(("c3", "shortened from 1E+03 to 2"), (client, reason));
    }

    [Fact]
    public async Task Krum_names_whom_it_left_out()
    {
        var aggregate = await RunAsync(new() { Rule = "multiKrum", Byzantine = 1, Keep = 4 }, hostile: "c3");

        Assert.Equal(["c2", "c3", "c5", "c7"], aggregate.Curbed.Keys);
        Assert.Equal("left out: its squared distance to its neighbours is 4.99E+06, the most among those taken 4", aggregate.Curbed["c3"]);
    }

    [Fact]
    public async Task Too_few_for_the_rule_is_said_before_anything_is_read()
    {
        var aggregate = await RunAsync(
            new() { Rule = "krum", Byzantine = 3 }, read: static _ => throw new InvalidOperationException("Nothing is to be read."));

        Assert.Equal("krum with byzantine: 3 needs at least 9 updates, there are 8.", aggregate.TooFew);
        Assert.Null(aggregate.Shared);
    }

    [Fact]
    public async Task Too_few_of_a_task_names_the_task() =>
        Assert.Equal(
            "Task few: krum with byzantine: 1 needs at least 5 updates, there are 3.",
            (await RunAsync(new() { Rule = "krum", Byzantine = 1, PerTask = true })).TooFew);

    private static Task<CohortAggregate> RunAsync(
        AggregationSpec aggregation, Weighting weighting = Weighting.UniformPerTask, string? hostile = null,
        Func<string, float[]>? read = null, string? norm = null)
    {
        var plan = Of(Clients).With(strategy => strategy with { Aggregation = aggregation });
        read ??= client => [.. Update(client).Select(value => client == hostile ? 1000 * value : value)];
        string[] ids = [.. Clients.Select(static client => client.Id)];
        return CohortAggregator.RunAsync(
            plan with { Adapter = plan.Adapter with { Weighting = weighting } }, 1, State(("A", new float[2])), null, ids,
            Clients.ToDictionary(
                static client => client.Id,
                client => new KeptReport { Numbers = new() { ProductNorm = client.Task == norm ? 1 : 0 } }),
            (client, _) => HeldUpdate.OpenAsync(State(("A", read(client)))));
    }

    private static float[] Update(string client) => Clients.Single(one => one.Id == client).Task == "many" ? [1, 0] : [0, 1];
}

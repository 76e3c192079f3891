using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Faults;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>What updates carry beside what training changed: summed by name, whatever the rule makes of the tensors.</summary>
public sealed class StatisticTests
{
    private const string Moments = "statistics/alignment/x", Variates = "statistics/variates/x.A";

    private static readonly string[] Ids = ["a", "b", "c", "d", "e", "f"];

    public static TheoryData<string> Rules => [.. StrategyRegistry.Aggregations.Keys];

    [Theory, MemberData(nameof(Rules))]
    public async Task They_are_summed_and_stand_in_the_place_of_the_last_sum_under_every_rule(string rule)
    {
        var after = await RunAsync(Plan(rule), Shared(Moments, [9, 9]), id => Update(Moments, id == "a" ? [100, 0] : [1, 2], id));

        Assert.Empty(after.Refused);
        Assert.Equal([105, 10], after.Shared![Moments].Data);
    }

    [Fact]
    public async Task Those_that_are_carried_add_their_sum_over_all_clients_of_the_plan_to_what_was()
    {
        var plan = Plan("mean", new Objective.ControlVariates());
        var after = await RunAsync(plan, Shared(Variates, [1, -1]), id => Update(Variates, [3, 6], id), ["a", "b"]);

        Assert.Equal([2, 1], after.Shared![Variates].Data); // two of six clients
    }

    [Fact]
    public async Task Neither_weights_nor_staleness_nor_the_length_of_tensors_touch_them()
    {
        var plan = Plan("mean").With(static strategy => strategy with { Trigger = new() { Rule = TriggerRule.Buffered } });
        var after = await RunAsync(plan, Shared(Moments, [0, 0]), id => Update(Moments, [1, 2], id), staleness: [0, 1, 2, 3, 4, 5]);
        var alone = await RunAsync(plan, State(("x.A", [0, 0])), Tensors, staleness: [0, 1, 2, 3, 4, 5], none: true);

        Assert.Equal([6, 12], after.Shared![Moments].Data);
        Assert.Equal(alone.Shared!["x.A"].Data, after.Shared["x.A"].Data);
        Assert.Equal(alone.Coherence, after.Coherence);
    }

    [Fact]
    public async Task A_sum_is_rounded_once_and_no_order_of_arrival_changes_a_bit()
    {
        float[] values = [1e8f, 1, -1e8f, 3, 1e-9f, 7]; // in float32 the 1 would be lost
        var open = Ids.ToDictionary(static id => id, static _ => new TaskCompletionSource());
        var running = CohortAggregator.RunAsync(
            Plan("mean", new Objective.Alignment(Clip: 1e9)), 1, Shared(Moments, [0, 0]), null, Ids, Reports(Ids), async (id, _) =>
            {
                await open[id].Task;
                return new HeldUpdate(Update(Moments, [values[Array.IndexOf(Ids, id)], 0], id));
            });
        foreach (var id in Ids.Reverse()) open[id].SetResult();

        Assert.Equal((float)values.Aggregate(0.0, static (sum, value) => sum + value), (await running).Shared![Moments].Data[0]);
    }

    public static TheoryData<string, string> Wrong => new()
    {
        { "absent", "The update has no statistics/alignment/x." },
        { "long", "statistics/alignment/x has norm 100.01, which its site clips to 100: is it of another plan?" },
        { "nan", "statistics/alignment/x holds NaN at element 1." },
        { "shape", "statistics/alignment/x has shape [3], expected [2]." },
        { "undeclared", "The update has statistics/alignment/y, which the shared state does not declare." },
        { "unknown", "The update has statistics/other/x, which the shared state does not declare." },
    };

    [Theory, MemberData(nameof(Wrong))]
    public async Task An_update_whose_statistics_cannot_be_used_is_refused_by_name(string what, string reason)
    {
        AdapterState Sent(string id) => id != "c" ? Update(Moments, [1, 2], id) : what switch
        {
            "absent" => State(("x.A", [1, 0])),
            "long" => Update(Moments, [0, 100.01f], id),
            "nan" => Update(Moments, [0, float.NaN], id),
            "shape" => Update(Moments, [0, 1, 2], id),
            "undeclared" => State(("x.A", [1, 0]), (Moments, [1, 2]), ("statistics/alignment/y", [1])),
            _ => State(("x.A", [1, 0]), (Moments, [1, 2]), ("statistics/other/x", [1])),
        };
        var after = await RunAsync(Plan("mean"), Shared(Moments, [0, 0]), Sent);

        Assert.Equal(("c", reason), (after.Refused.Single().Key, after.Refused.Single().Value));
        Assert.Null(after.Shared);
    }

    [Fact]
    public async Task A_norm_at_the_clip_with_its_rounding_is_let_through() =>
        Assert.Empty((await RunAsync(Plan("mean"), Shared(Moments, [0, 0]), id => Update(Moments, [60.0003f, 80.0004f], id))).Refused);

    [Fact]
    public async Task A_plan_without_statistics_refuses_them() =>
        Assert.Equal(
            "The update has statistics/alignment/x, which the shared state does not declare.",
            (await RunAsync(Plan("mean"), State(("x.A", [0, 0])), id => Update(Moments, [1, 1], id), none: true)).Refused["a"]);

    [Theory]
    [InlineData(FaultKind.Nan)]
    [InlineData(FaultKind.Huge)]
    [InlineData(FaultKind.SignFlip)]
    [InlineData(FaultKind.Zero)]
    [InlineData(FaultKind.WrongShape)]
    public void An_attack_on_an_update_leaves_its_statistics(FaultKind kind)
    {
        var attacked = UpdateAttack.Apply(new() { Kind = kind, Share = 1 }, State((Moments, [1, 2]), ("x.A", [1, 0])));

        Assert.Equal([1, 2], attacked[Moments].Data);
        Assert.False(attacked.TryGetValue("x.A", out var tensor) && tensor.Data is [1, 0]);
    }

    private static FederationPlan Plan(string rule, Objective? objective = null) => Of(Ids).With(strategy => strategy with
    {
        Aggregation = new() { Rule = rule, Byzantine = rule is "krum" or "multiKrum" ? 1 : null },
    }) with { Adapter = new() { Objectives = [objective ?? new Objective.Alignment()] } };

    private static AdapterState Shared(string name, float[] statistic) => State(("x.A", [0, 0]), (name, statistic));

    private static AdapterState Update(string name, float[] statistic, string id) => new([.. Tensors(id), .. State((name, statistic))]);

    private static AdapterState Tensors(string id) => State(("x.A", [1 + (id[0] - 'a'), 0]));

    private static Dictionary<string, KeptReport> Reports(string[] closed) =>
        closed.ToDictionary(static id => id, static _ => new KeptReport());

    private static Task<CohortAggregate> RunAsync(
        FederationPlan plan, AdapterState shared, Func<string, AdapterState> read, string[]? closed = null, int[]? staleness = null,
        bool none = false)
    {
        if (none) plan = plan with { Adapter = plan.Adapter with { Objectives = [] } };
        closed ??= Ids;
        return CohortAggregator.RunAsync(
            plan, 1, shared, null, closed, Reports(closed), (id, _) => HeldUpdate.OpenAsync(read(id)), staleness);
    }
}

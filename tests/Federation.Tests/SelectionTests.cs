using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Selection;

namespace FedRLora.Federation.Tests;

public class SelectionTests
{
    private static readonly ClientInfo[] Clients = [.. Enumerable.Range(0, 20).Select(i => new ClientInfo($"c{i}", "local", "task", true))];

    public static TheoryData<SelectionRule> Rules => [.. StrategyRegistry.Selections.Keys];

    [Fact]
    public void Every_rule_of_the_plan_is_registered() =>
        Assert.Equal(Enum.GetValues<SelectionRule>(), StrategyRegistry.Selections.Keys.Order());

    [Theory, MemberData(nameof(Rules))]
    public void A_draw_orders_everybody_once(SelectionRule rule) =>
        Assert.Equal(
            Clients.Select(static client => client.Id).Order(StringComparer.Ordinal),
            StrategyRegistry.Selections[rule](new() { Rule = rule }).Draw(Clients, new SplitMix64(1)).Order(StringComparer.Ordinal));

    [Theory, MemberData(nameof(Rules))]
    public void A_cohort_ignores_the_order_of_the_available(SelectionRule rule) =>
        Assert.Equal(Select(rule, 0.5, Clients, 1), Select(rule, 0.5, [.. Clients.Reverse()], 1));

    [Fact]
    public void All_takes_everybody() => Assert.Equal(20, Select(SelectionRule.All, 0.1, Clients, 1).Count);

    [Theory]
    [InlineData(0.001, 1)]
    [InlineData(0.25, 5)]
    [InlineData(0.375, 8)]
    [InlineData(1.0, 20)]
    public void Uniform_takes_its_fraction_and_at_least_one(double fraction, int expected) =>
        Assert.Equal(expected, Select(SelectionRule.Uniform, fraction, Clients, 1).Count);

    [Fact]
    public void Another_seed_draws_another_cohort() =>
        Assert.NotEqual(Select(SelectionRule.Uniform, 0.5, Clients, 1), Select(SelectionRule.Uniform, 0.5, Clients, 2));

    [Fact]
    public void Uniform_draws_everybody_equally_often()
    {
        var drawn = Enumerable.Range(0, 4_000).SelectMany(seed => Select(SelectionRule.Uniform, 0.25, Clients, (ulong)seed))
            .CountBy(id => id);
        Assert.All(drawn, count => Assert.InRange(count.Value, 870, 1130));   // 1000 expected, standard deviation 27
    }

    [Fact]
    public void The_generator_gives_the_published_sequence()
    {
        var random = new SplitMix64(1234567);
        Assert.Equal([6457827717110365317UL, 3203168211198807973UL, 9817491932198370423UL], [random.Next(), random.Next(), random.Next()]);
    }

    private static IReadOnlyList<string> Select(SelectionRule rule, double fraction, ClientInfo[] available, ulong seed) =>
        StrategyRegistry.Selections[rule](new SelectionSpec { Rule = rule, Fraction = fraction }) is var selector
            ? [.. selector.Draw(available, new SplitMix64(seed)).Take(selector.Wanted(available.Length)).Order(StringComparer.Ordinal)]
            : [];
}

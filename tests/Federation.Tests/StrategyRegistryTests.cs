using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests;

public sealed class StrategyRegistryTests
{
    [Fact]
    public void Every_rule_of_aggregation_that_a_plan_may_name_is_registered_and_no_other() =>
        Assert.Equal(StrategyNames.Aggregations.Keys, StrategyRegistry.Aggregations.Keys);

    [Fact]
    public void Every_server_optimizer_that_a_plan_may_name_is_registered_and_no_other() =>
        Assert.Equal(StrategyNames.ServerOptimizers, StrategyRegistry.ServerOptimizers.Keys);

    [Fact]
    public void A_rule_that_asks_the_plan_for_more_than_one_update_refuses_fewer_in_the_round_too() =>
        Assert.All(StrategyNames.Aggregations, static entry =>
        {
            var spec = new AggregationSpec { Rule = entry.Key };
            var rule = StrategyRegistry.Aggregations[entry.Key](spec);

            Assert.Null(rule.TooFew(spec.Fewest));
            Assert.Equal(spec.Fewest > 1, rule.TooFew(spec.Fewest - 1) is not null);
        });
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Selection;
using FedRLora.Federation.ServerOptimizers;

namespace FedRLora.Federation;

/// <summary>The mathematics of every part of a strategy, by the names that <see cref="StrategyNames"/> gives a plan.</summary>
public static class StrategyRegistry
{
    /// <summary>Selections.</summary>
    public static IReadOnlyDictionary<SelectionRule, Func<SelectionSpec, IClientSelector>> Selections { get; } =
        new Dictionary<SelectionRule, Func<SelectionSpec, IClientSelector>>
        {
            [SelectionRule.All] = static _ => new AllClients(),
            [SelectionRule.Uniform] = static spec => new UniformClients(spec.Fraction),
        };

    /// <summary>Aggregation rules.</summary>
    public static IReadOnlyDictionary<string, Func<AggregationSpec, IAggregationRule>> Aggregations { get; } =
        new SortedDictionary<string, Func<AggregationSpec, IAggregationRule>>(StringComparer.Ordinal)
        {
            ["geometricMedian"] = static spec => new GeometricMedian(spec.Iterations ?? AggregationSpec.DefaultIterations),
            ["krum"] = static spec => new Krum(spec),
            ["mean"] = static _ => new Mean(),
            ["median"] = static _ => new Median(),
            ["multiKrum"] = static spec => new MultiKrum(spec),
            ["normBound"] = static spec => new NormBound(spec.MaxNorm),
            ["trimmedMean"] = static spec => new TrimmedMean(spec),
        };

    /// <summary>Server optimizers.</summary>
    public static IReadOnlyDictionary<string, Func<ServerOptimizerSpec, IServerOptimizer>> ServerOptimizers { get; } =
        new SortedDictionary<string, Func<ServerOptimizerSpec, IServerOptimizer>>(StringComparer.Ordinal)
        {
            ["adagrad"] = static spec => new Adagrad(spec),
            ["adam"] = static spec => new Adam(spec),
            ["momentum"] = static spec => new Momentum(spec),
            ["sgd"] = static spec => new Sgd(spec.Rate),
            ["yogi"] = static spec => new Yogi(spec),
        };

    /// <summary>The plan's selection.</summary>
    public static IClientSelector Selector(FederationPlan plan) => Selections[plan.Strategy.Selection.Rule](plan.Strategy.Selection);

    /// <summary>The plan's aggregation rule.</summary>
    /// <exception cref="BadInputException">There is no such rule.</exception>
    public static IAggregationRule Aggregation(FederationPlan plan) =>
        Find(Aggregations, plan.Strategy.Aggregation.Rule, "aggregation rule")(plan.Strategy.Aggregation);

    /// <summary>The plan's server optimizer.</summary>
    /// <exception cref="BadInputException">There is no such rule.</exception>
    public static IServerOptimizer ServerOptimizer(FederationPlan plan) =>
        Find(ServerOptimizers, plan.Strategy.ServerOptimizer.Rule, "server optimizer")(plan.Strategy.ServerOptimizer);

    private static T Find<T>(IReadOnlyDictionary<string, T> registry, string name, string kind) =>
        registry.TryGetValue(name, out var found)
            ? found
            : throw new BadInputException($"There is no {kind} {name}; there are: {string.Join(", ", registry.Keys)}.");
}

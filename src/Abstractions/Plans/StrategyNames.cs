namespace FedRLora.Abstractions.Plans;

/// <summary>The names that a plan's strategy may use; the strategy registry has a rule for each.</summary>
public static class StrategyNames
{
    /// <summary>Names for <see cref="StrategySpec.Aggregation"/>.</summary>
    public static IReadOnlyList<string> Aggregations { get; } = ["mean"];

    /// <summary>Names for <see cref="ServerOptimizerSpec.Rule"/>.</summary>
    public static IReadOnlyList<string> ServerOptimizers { get; } = ["sgd"];
}

namespace FedRLora.Abstractions.Plans;

/// <summary>The names that a plan's strategy may use; the strategy registry has a rule for each.</summary>
public static class StrategyNames
{
    /// <summary>The parameters of <see cref="AggregationSpec"/> that each rule of aggregation uses, by their keys in the plan.</summary>
    public static IReadOnlyDictionary<string, IReadOnlyList<string>> AggregationParameters { get; } = new SortedDictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal)
    {
        ["geometricMedian"] = ["iterations", "perTask"],
        ["krum"] = ["byzantine", "perTask"],
        ["mean"] = [],
        ["median"] = ["perTask"],
        ["multiKrum"] = ["byzantine", "keep", "perTask"],
        ["normBound"] = ["maxNorm", "perTask"],
        ["trimmedMean"] = ["trim", "perTask"],
    };

    /// <summary>Names for <see cref="AggregationSpec.Rule"/>.</summary>
    public static IReadOnlyList<string> Aggregations { get; } = [.. AggregationParameters.Keys];

    /// <summary>Names for <see cref="ServerOptimizerSpec.Rule"/>.</summary>
    public static IReadOnlyList<string> ServerOptimizers { get; } = ["sgd"];
}

using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>strategy.aggregation</c>: the name of a rule, or a section with its parameters.</summary>
internal static class AggregationReader
{
    public static AggregationSpec Read(PlanSection strategy)
    {
        var spec = new AggregationSpec();
        if (strategy.Section("aggregation", shorthand: "rule") is not { } aggregation)
            return spec;
        spec = new()
        {
            Rule = aggregation.Name("rule", spec.Rule, [.. StrategyNames.Aggregations.Keys]),
            Trim = aggregation.OptionalNumber("trim", Between(0, 0.5)),
            Byzantine = aggregation.OptionalInteger("byzantine", 0, Bounds.Many),
            Keep = aggregation.OptionalInteger("keep", 1, Bounds.Many),
            MaxNorm = aggregation.OptionalNumber("maxNorm", Above(0, Bounds.Many)),
            Iterations = aggregation.OptionalInteger("iterations", 1, 10_000),
            PerTask = aggregation.Flag("perTask", spec.PerTask),
        };
        aggregation.Close();
        if (aggregation.IsUnreadable("rule"))
            aggregation.MarkUnreadable();
        return spec;
    }
}

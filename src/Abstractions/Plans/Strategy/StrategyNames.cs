using System.Globalization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The names that a plan's strategy may use, with all that a plan knows of each. The strategy registry holds the mathematics under the
/// same names; rules of selection are named by <see cref="SelectionRule"/>, those that close a round by <see cref="TriggerRule"/>.
/// </summary>
public static class StrategyNames
{
    /// <summary>Rules of aggregation: names for <see cref="AggregationSpec.Rule"/>.</summary>
    public static IReadOnlyDictionary<string, AggregationTerms> Aggregations { get; } =
        new SortedDictionary<string, AggregationTerms>(StringComparer.Ordinal)
        {
            ["geometricMedian"] = new("iterations", "perTask"),
            ["krum"] = new("byzantine", "perTask")
            {
                Fewest = static spec => (2 * Hostile(spec)) + 3,
                Values = static spec => Invariant($"byzantine: {Hostile(spec)}"),
                Milder = static _ => "a smaller byzantine",
            },
            ["mean"] = new(),
            ["median"] = new("perTask"),
            ["multiKrum"] = new("byzantine", "keep", "perTask")
            {
                Fewest = static spec => Math.Max((2 * Hostile(spec)) + 3, (spec.Keep ?? 1) + Hostile(spec) + 2),
                Values = static spec => Invariant($"byzantine: {Hostile(spec)}{(spec.Keep is { } kept ? $" and keep: {kept}" : "")}"),
                Milder = static spec => spec.Keep is null ? "a smaller byzantine" : "a smaller byzantine or keep",
            },
            ["normBound"] = new("maxNorm", "perTask"),
            ["trimmedMean"] = new("trim", "perTask")
            {
                Fewest = static spec => (int)Math.Ceiling((1 / (spec.Trim ?? AggregationSpec.DefaultTrim)) - 1e-9),
                Values = static spec => Invariant($"trim: {spec.Trim ?? AggregationSpec.DefaultTrim}"),
                Why = " to drop one at each end",
                Milder = static _ => "a larger trim",
            },
        };

    /// <summary>Server optimizers: names for <see cref="ServerOptimizerSpec.Rule"/>.</summary>
    public static IReadOnlyList<string> ServerOptimizers { get; } = ["adagrad", "adam", "momentum", "sgd", "yogi"];

    /// <summary>The parameters of <see cref="ServerOptimizerSpec"/> that a server optimizer uses, by their keys in the plan.</summary>
    public static IReadOnlyList<string> ParametersOfServer(string rule) => rule switch
    {
        "adagrad" => ["learningRate", "tau", "variant"],
        "adam" or "yogi" => ["learningRate", "beta1", "beta2", "tau", "variant"],
        "momentum" => ["learningRate", "momentum", "variant"],
        _ => ["learningRate"],
    };

    private static int Hostile(AggregationSpec spec) => spec.Byzantine ?? 0;

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>What a plan knows of a rule of aggregation.</summary>
/// <param name="Parameters">Those of <see cref="AggregationSpec"/> that the rule uses, by their keys in the plan.</param>
public sealed record AggregationTerms(params IReadOnlyList<string> Parameters)
{
    /// <summary>The fewest updates for which the rule keeps its promise.</summary>
    public Func<AggregationSpec, int> Fewest { get; init; } = static _ => 1;

    /// <summary>The parameters that <see cref="Fewest"/> rests on, for example <c>byzantine: 2</c>; empty where there are none.</summary>
    public Func<AggregationSpec, string> Values { get; init; } = static _ => "";

    /// <summary>What the fewest updates are needed for, behind the number.</summary>
    public string Why { get; init; } = "";

    /// <summary>What to give where the updates are too few.</summary>
    public Func<AggregationSpec, string> Milder { get; init; } = static _ => "";
}

using System.Globalization;

namespace FedRLora.Abstractions.Plans;

/// <summary>How the updates of a closed cohort become one. A parameter that is null was not given, and the rule's default holds.</summary>
public sealed record AggregationSpec
{
    // Of a rule that no registry has, which is refused when it is looked for.
    private static readonly AggregationTerms NoTerms = new();

    /// <summary>What <c>trimmedMean</c> drops at each end by default, as in Flower.</summary>
    public const double DefaultTrim = 0.2;

    /// <summary>
    /// The most steps of <c>geometricMedian</c> by default. One step takes the start's error of hostile updates down by no more than
    /// their weight over that of the others, so a bound of five would let an update a million times too long through.
    /// </summary>
    public const int DefaultIterations = 100;

    /// <summary>Name of the rule in the strategy registry; one of <see cref="StrategyNames.Aggregations"/>.</summary>
    public string Rule { get; init; } = "mean";

    /// <summary>Share of the updates that <c>trimmedMean</c> drops at each end, in (0, 0.5).</summary>
    public double? Trim { get; init; }

    /// <summary>The most hostile updates that <c>krum</c> and <c>multiKrum</c> stand; f in the paper.</summary>
    public int? Byzantine { get; init; }

    /// <summary>How many updates <c>multiKrum</c> averages; K - f - 2, the most it may, where it is not given.</summary>
    public int? Keep { get; init; }

    /// <summary>
    /// The length above which <c>normBound</c> shortens an update; the median length of the cohort where it is not given.
    /// </summary>
    public double? MaxNorm { get; init; }

    /// <summary>The most steps of <c>geometricMedian</c>.</summary>
    public int? Iterations { get; init; }

    /// <summary>
    /// Whether the rule works among the clients of each task, and the weighted mean over tasks follows: across tasks a robust rule
    /// takes an honest minority task for an attacker, because its updates lie far from those of the majority.
    /// </summary>
    public bool PerTask { get; init; }

    /// <summary>
    /// The fewest updates for which the rule keeps its promise: 2 f + 3 for Krum (Blanchard et al., NeurIPS 2017), for multi-Krum
    /// also m + f + 2, for the trimmed mean the fewest of which it drops one at each end.
    /// </summary>
    public int Fewest => Terms.Fewest(this);

    /// <summary>
    /// Why the rule needs <see cref="Fewest"/> updates, for example <c>krum with byzantine: 2 needs at least 7 updates</c>.
    /// </summary>
    public string Need => string.Create(CultureInfo.InvariantCulture, $"{Named} needs at least {Fewest} updates{Terms.Why}");

    internal AggregationTerms Terms => StrategyNames.Aggregations.GetValueOrDefault(Rule, NoTerms);

    private string Named => Terms.Values(this) is { Length: > 0 } values ? $"{Rule} with {values}" : Rule;
}

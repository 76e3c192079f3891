using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Metrics;

/// <summary>The metrics by the plan's name for them.</summary>
internal static class MetricRegistry
{
    /// <summary>Labels that <see cref="Metric.Auto"/> still scores one by one; beyond, completions are no labels.</summary>
    public const int MaxLabels = 256;

    public static IReadOnlyDictionary<Metric, IMetric> Metrics { get; } = new Dictionary<Metric, IMetric>
    {
        [Metric.Accuracy] = new Accuracy(),
        [Metric.ExactMatch] = new ExactMatch(),
        [Metric.Perplexity] = new Perplexity(),
    };

    /// <summary>The metric of a plan for a client's rows.</summary>
    public static IMetric For(Metric metric, ScoredRows rows) => Metrics[metric != Metric.Auto
        ? metric
        : rows.Test.AreLabelled && rows.Test.Candidates.Count is > 1 and <= MaxLabels ? Metric.Accuracy : Metric.Perplexity];
}

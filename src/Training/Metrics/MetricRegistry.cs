using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;

namespace FedRLora.Training.Metrics;

/// <summary>The metrics by the plan's name for them.</summary>
internal static class MetricRegistry
{
    /// <summary>Answers that are still scored one by one; beyond, completions are no labels.</summary>
    public const int MaxLabels = 256;

    public static IReadOnlyDictionary<Metric, IMetric> Metrics { get; } = new Dictionary<Metric, IMetric>
    {
        [Metric.Accuracy] = new LabelMetric("accuracy", LabelMetric.Accuracy),
        [Metric.MacroF1] = new LabelMetric("macroF1", LabelMetric.MacroF1),
        [Metric.Matthews] = new LabelMetric("matthews", LabelMetric.Matthews),
        [Metric.ExactMatch] = new ExactMatch(),
        [Metric.Perplexity] = new Perplexity(),
    };

    /// <summary>The metric of a plan for a client's rows, and why it is not accuracy although rows have labels.</summary>
    public static (IMetric Metric, DataNote? WhyNot) For(Metric metric, TestRows test)
    {
        if (metric != Metric.Auto) return (Metrics[metric], null);
        var whyNot = WhyNotAccuracy(test);
        return (Metrics[whyNot is null && test.Labels.Names.Count > 0 ? Metric.Accuracy : Metric.Perplexity], whyNot);
    }

    private static DataNote? WhyNotAccuracy(TestRows test)
    {
        var (rows, labels, unlabelled) = (test.Examples.Count, test.Labels, test.Unlabelled);
        if (labels.Names.Count == 0) return null; // rows of text
        if (unlabelled > 0) return new() { Kind = DataNoteKind.AutoUnlabelled, Count = unlabelled, Of = rows };
        if (labels.Answers.Count > MaxLabels)
            return new() { Kind = DataNoteKind.AutoManyLabels, Count = labels.Answers.Count, Of = MaxLabels };
        if (labels.Names.Count == 1) return new() { Kind = DataNoteKind.AutoOneLabel, Count = rows, Of = rows };
        return labels.Ambiguous is null ? null : new() { Kind = DataNoteKind.AutoAmbiguous, Count = rows, Of = rows };
    }
}

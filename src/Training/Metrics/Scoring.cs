using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Metrics;

/// <summary>The one way from rows to a score, for a federation and for a person who asks.</summary>
internal static class Scoring
{
    /// <summary>The same beside the frozen base on the same rows.</summary>
    public static EvaluationResult Beside(EvaluationResult result, EvaluationResult frozen)
    {
        var metric = MetricRegistry.Metrics.Values.Single(metric => metric.Name == result.Metric);
        var comparison = ScoreErrors.Compare((result.Score, result.RowScores), (frozen.Score, frozen.RowScores), metric.IsExponential, metric.IsMean);
        return result with { Base = comparison };
    }

    /// <summary>Runs on the lane, within a dispose scope of the caller.</summary>
    /// <exception cref="BadInputException">The rows cannot be scored by this metric, or loss or score is not finite.</exception>
    public static EvaluationResult Of(ScoredRows rows, string client, CancellationToken cancellationToken)
    {
        var (metric, whyNot) = MetricRegistry.For(rows.Spec.Metric, rows.Test);
        var score = metric.Score(rows, cancellationToken);
        if (!double.IsFinite(score.Loss)) throw new BadInputException($"the test loss is {score.Loss}");
        return new EvaluationResult
        {
            ClientId = client,
            Rows = rows.Test.Rows.Count,
            Loss = score.Loss,
            Metric = metric.Name,
            Score = score.Score,
            MajorityShare = score.Constant,
            Frame = metric is LabelMetric ? rows.Test.Labels.Frame : null,
            Notes = [.. rows.Test.Notes.Concat(new[] { whyNot, score.Note }.OfType<DataNote>()).Concat(metric is LabelMetric ? rows.Test.LabelNotes : [])],
            StandardError = metric.IsMean ? ScoreErrors.Of(score.Rows, metric.IsExponential) : null,
            Always = score.Always,
            RowScores = score.Rows,
        };
    }
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Metrics;

/// <summary>The one way from rows to a score, for a federation and for a person who asks.</summary>
internal static class Scoring
{
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
            RowScores = score.Rows,
        };
    }
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Metrics;

/// <summary>The one way from rows to a score, for a federation and for a person who asks.</summary>
internal static class Scoring
{
    /// <summary>Runs on the lane, within a dispose scope of the caller.</summary>
    /// <exception cref="BadInputException">The rows cannot be scored by this metric, or the loss is not finite.</exception>
    public static EvaluationResult Of(ScoredRows rows, string client, CancellationToken cancellationToken)
    {
        var metric = MetricRegistry.For(rows.Spec.Metric, rows);
        var score = metric.Score(rows, cancellationToken);
        if (!double.IsFinite(score.Loss)) throw new BadInputException($"the test loss is {score.Loss}");
        return new EvaluationResult
        {
            ClientId = client,
            Rows = rows.Test.Rows.Count,
            Loss = score.Loss,
            Metric = metric.Name,
            Score = score.Score,
            MajorityShare = rows.Test.MajorityShare,
        };
    }
}

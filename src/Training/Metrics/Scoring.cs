using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Data;

namespace FedRLora.Training.Metrics;

/// <summary>The one way from rows to a score, for a federation and for a person who asks.</summary>
internal static class Scoring
{
    /// <summary>The same beside the frozen base on the same rows.</summary>
    public static EvaluationResult Beside(EvaluationResult result, EvaluationResult frozen) =>
        result with { Base = ScoreErrors.Compare(result.Metric, result.RowScores, (frozen.Score, frozen.RowScores)) };

    /// <summary>Runs on the lane, within a dispose scope of the caller.</summary>
    /// <exception cref="BadInputException">The rows cannot be scored by this metric, or loss or score is not finite.</exception>
    public static EvaluationResult Of(ScoredRows rows, string client, CancellationToken cancellationToken) =>
        For(client, rows.Test, Of(rows, cancellationToken));

    /// <summary>
    /// What scoring gives whoever asks: without a client, and without the notes that are the client's. A function of the base, what the
    /// adapter computes, <see cref="TestRows.Digest"/>, the metric and its settings, and the threads.
    /// </summary>
    /// <inheritdoc cref="Of(ScoredRows, string, CancellationToken)"/>
    public static EvaluationResult Of(ScoredRows rows, CancellationToken cancellationToken)
    {
        var (metric, whyNot) = MetricRegistry.For(rows.Spec.Metric, rows.Test);
        var score = metric.Score(rows, cancellationToken);
        if (!double.IsFinite(score.Loss)) throw new BadInputException($"the test loss is {score.Loss}");
        return new EvaluationResult
        {
            ClientId = "",
            Rows = rows.Test.Rows.Count,
            Loss = score.Loss,
            Metric = metric.Name,
            Score = score.Score,
            MajorityShare = score.Constant,
            Frame = metric is LabelMetric ? rows.Test.Labels.Frame : null,
            Notes = [.. new[] { whyNot, score.Note }.OfType<DataNote>()],
            StandardError = ScoreErrors.Of(metric.Name, score.Rows),
            Always = score.Always,
            RowScores = score.Rows,
        };
    }

    /// <summary>The same as a client's.</summary>
    public static EvaluationResult For(string client, TestRows test, EvaluationResult score) => score with
    {
        ClientId = client,
        Notes = [.. test.Notes, .. score.Notes, .. score.Frame is null ? [] : test.LabelNotes],
    };
}

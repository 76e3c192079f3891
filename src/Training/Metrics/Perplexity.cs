using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Metrics;

/// <summary>exp of the mean completion loss per token.</summary>
internal sealed class Perplexity : IMetric
{
    public string Name => "perplexity";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var losses = Losses(rows, cancellationToken);
        var loss = Mean(losses);
        var score = Math.Exp(loss);
        if (double.IsFinite(loss) && !double.IsFinite(score))
        {
            throw new BadInputException(FormattableString.Invariant($"perplexity: the test loss is {loss:0.###} per token, ")
                + "whose exponential no number holds; the model does not fit the rows");
        }

        return new(score, loss) { Rows = losses };
    }

    /// <summary>Mean completion loss per token.</summary>
    internal static double Mean(IReadOnlyList<RowScore> losses) =>
        losses.Sum(static row => row.Value) / losses.Sum(static row => row.Weight);

    /// <summary>The summed completion loss of each row, and its tokens.</summary>
    internal static IReadOnlyList<RowScore> Losses(ScoredRows rows, CancellationToken cancellationToken)
    {
        var sequences = rows.Test.Rows.Select(static (row, slot) => new ScoredSequence(
            row.Ids, [.. row.LossPlaces.Select(place => (place - 1, row.Ids[place], slot))]));
        var sums = LogLikelihood.Sums(rows.Base.Model, rows.Adapters, sequences, rows.Test.Rows.Count, cancellationToken,
            rows.Progress);
        return [.. rows.Test.Rows.Zip(sums, static (row, sum) => new RowScore(-sum, row.LossTokens))];
    }
}

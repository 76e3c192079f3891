namespace FedRLora.Training.Metrics;

/// <summary>exp of the mean completion loss per token.</summary>
internal sealed class Perplexity : IMetric
{
    public string Name => "perplexity";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var loss = Loss(rows, cancellationToken);
        return new(Math.Exp(loss), loss);
    }

    /// <summary>Mean completion loss per token.</summary>
    internal static double Loss(ScoredRows rows, CancellationToken cancellationToken)
    {
        var sequences = rows.Test.Rows.Select(static (row, slot) => new ScoredSequence(
            row.Ids, [.. row.LossPlaces.Select(place => (place - 1, row.Ids[place], slot))]));
        var sums = LogLikelihood.Sums(rows.Base.Model, rows.Adapters, sequences, rows.Test.Rows.Count, cancellationToken);
        return -sums.Sum() / rows.Test.Rows.Sum(static row => row.LossTokens);
    }
}

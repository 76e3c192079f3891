using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Local;

/// <summary>The runs of a sweep beside the one with the best mean.</summary>
/// <param name="comparison">They; that one is the first.</param>
internal sealed class SweepOutcome(Comparison comparison)
{
    /// <summary>The run that is better than every other beyond two standard errors; null for none.</summary>
    public string? Best { get; } = SweepVerdict.BestOf(comparison);

    /// <inheritdoc cref="SweepVerdict.Ranked"/>
    public static IEnumerable<SweepRow> Ranked(IReadOnlyCollection<SweepRow> rows) => rows.Count == 0 ? []
        : SweepVerdict.Ranked(rows, static row => row.Metric, static row => row.Score, static row => row.Clients);

    /// <summary>A run with what the comparison says of it.</summary>
    public SweepRow Told(SweepRow row)
    {
        var index = comparison.Runs.Select(static run => run.Run).ToList().IndexOf(row.Name);
        return index < 0 ? row : row with
        {
            Metric = comparison.Mean.Metric, Score = comparison.Mean.Scores[index].Score,
            StandardError = comparison.Mean.Scores[index].StandardError, Difference = comparison.Mean.Scores[index].Difference,
            DifferenceError = comparison.Mean.Scores[index].DifferenceError,
        };
    }

    /// <summary>The means, the differences to the best, the plan's differences, and the verdict.</summary>
    public string ToText(int? width) => ComparisonText.Of(comparison, width, withClients: false)
        + string.Concat(SweepVerdict.Of(comparison).Select(line => Words.Broken(line, width) + "\n"));
}

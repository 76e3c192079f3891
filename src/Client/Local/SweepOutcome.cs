using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Local;

/// <summary>The runs of a sweep beside the one with the best mean.</summary>
/// <param name="comparison">They; that one is the first.</param>
internal sealed class SweepOutcome(Comparison comparison)
{
    /// <summary>The run that is better than every other beyond two standard errors; null for none.</summary>
    public string? Best { get; } = SweepVerdict.BestOf(comparison);

    /// <summary>Runs with the best mean first; those without a mean stand last, in their order.</summary>
    public static IEnumerable<SweepRow> Ranked(IEnumerable<SweepRow> rows) => rows.Order(Comparer<SweepRow>.Create(static (a, b) =>
        a.Score is not { } first ? b.Score is null ? 0 : 1
            : b.Score is not { } second ? -1
            : first == second ? 0
            : SweepVerdict.IsBetter(a.Metric, first, second) ? -1 : 1));

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

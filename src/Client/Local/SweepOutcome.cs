using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Local;

/// <summary>The runs of a sweep beside the one with the best mean, of those that have most runs' clients.</summary>
/// <param name="comparison">They; that one is the first.</param>
/// <param name="rows">The same runs in the same order.</param>
internal sealed class SweepOutcome(Comparison comparison, IReadOnlyList<SweepRow> rows)
{
    private readonly List<string> _apart =
        [.. rows.Where(row => SweepVerdict.AreApart(row.Clients, rows[0].Clients)).Select(static row => row.Name)];

    /// <summary>The run that is better beyond two standard errors than every other that it is compared with; null for none.</summary>
    public string? Best => SweepVerdict.BestOf(comparison, _apart);

    /// <inheritdoc cref="SweepVerdict.Ranked"/>
    public static IReadOnlyList<SweepRow> Ranked(IEnumerable<SweepRow> rows) =>
        SweepVerdict.Ranked(rows, static row => row.Metric, static row => row.Score, static row => row.Clients);

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
        + string.Concat(SweepVerdict.Of(comparison, _apart).Select(line => Words.Broken(line, width) + "\n"));
}

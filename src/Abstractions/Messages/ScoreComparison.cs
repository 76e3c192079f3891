using FedRLora.Abstractions.Ports;

namespace FedRLora.Abstractions.Messages;

/// <summary>A score beside another of the same rows.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.score-comparison")]
public sealed record ScoreComparison
{
    /// <summary>The other score.</summary>
    [Id(0)] public required double Reference { get; init; }

    /// <summary>Rows that only this one had right; 0 where rows are not right or wrong.</summary>
    [Id(1)] public int OnlyThis { get; init; }

    /// <summary>Rows that only the other had right.</summary>
    [Id(2)] public int OnlyReference { get; init; }

    /// <summary>
    /// Standard error of the difference over the rows that both were scored on; null where it cannot be told: fewer than two rows, or a
    /// score that is no mean over rows.
    /// </summary>
    [Id(3)] public double? StandardError { get; init; }
}

/// <summary>
/// Standard errors over test rows. A score is g(sum of values / sum of weights), with g the identity or, for a perplexity, exp; its error
/// is that of the mean of each row's influence g'(m) (v - w m) (the delta method for a ratio: Cochran, Sampling Techniques, 1977,
/// section 6.4). A difference takes the difference of influences row by row, so what both find hard cancels.
/// </summary>
public static class ScoreErrors
{
    private const string Perplexity = "perplexity";

    /// <summary>Of one score; null for fewer than two rows, or a metric that is no mean over rows.</summary>
    /// <param name="metric">The metric's name.</param>
    /// <param name="rows">Each row by itself.</param>
    public static double? Of(string metric, IReadOnlyList<RowScore> rows) =>
        IsMean(metric) ? Error(Influences(rows, metric == Perplexity)) : null;

    /// <summary>Two scores of the same rows in the same order.</summary>
    /// <param name="metric">The metric's name.</param>
    /// <param name="rows">Each row of the score.</param>
    /// <param name="reference">The other score, and each row of it.</param>
    public static ScoreComparison Compare(
        string metric, IReadOnlyList<RowScore> rows, (double Score, IReadOnlyList<RowScore> Rows) reference)
    {
        if (rows.Count != reference.Rows.Count)
            throw new ArgumentException($"{rows.Count} rows and {reference.Rows.Count}.", nameof(reference));
        var exponential = metric == Perplexity;
        var pairs = rows.Zip(reference.Rows).ToList();
        double[] differences = [.. Influences(rows, exponential).Zip(Influences(reference.Rows, exponential), static (a, b) => a - b)];
        return new()
        {
            Reference = reference.Score,
            OnlyThis = exponential ? 0 : pairs.Count(static pair => pair.First.Value > pair.Second.Value),
            OnlyReference = exponential ? 0 : pairs.Count(static pair => pair.First.Value < pair.Second.Value),
            StandardError = IsMean(metric) ? Error(differences) : null,
        };
    }

    /// <summary>
    /// Upper bound of the standard error of a mean of scores, or of differences, of which those of one group may rest on the same rows and
    /// those of different groups do not: the root of the summed squares of each group's sum of errors, over their number. In a group it is
    /// the triangle inequality for standard deviations (Minkowski's), and what the error is where all of the group move together.
    /// </summary>
    /// <param name="errors">Of each score its group and its error.</param>
    /// <returns>Null where an error is not known, or where there is none.</returns>
    public static double? OfMean(IReadOnlyCollection<(string Group, double? Error)> errors)
    {
        if (errors.Count == 0 || errors.Any(static one => one.Error is null)) return null;
        var groups = errors.GroupBy(static one => one.Group, static one => one.Error!.Value, StringComparer.Ordinal);
        // from the smallest on, so that the last digit is the same whatever order they come in
        return Math.Sqrt(groups.Select(static group => Math.Pow(group.Order().Sum(), 2)).Order().Sum()) / errors.Count;
    }

    private static bool IsMean(string metric) => metric is "accuracy" or "exactMatch" or Perplexity;

    private static double[] Influences(IReadOnlyList<RowScore> rows, bool exponential)
    {
        var weight = rows.Sum(static row => (double)row.Weight);
        var mean = rows.Sum(static row => row.Value) / weight;
        var slope = exponential ? Math.Exp(mean) : 1;
        return [.. rows.Select(row => slope * (row.Value - row.Weight * mean) / weight)];
    }

    // Influences sum to 0, and each is a share of the score already.
    private static double? Error(double[] influences)
    {
        double n = influences.Length;
        var error = Math.Sqrt(n / (n - 1) * influences.Sum(static value => value * value));
        return double.IsFinite(error) ? error : null;
    }
}

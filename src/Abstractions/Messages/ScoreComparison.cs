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
    /// <summary>Of one score; null for fewer than two rows.</summary>
    /// <param name="rows">Each row by itself.</param>
    /// <param name="exponential">Whether the score is exp of the mean.</param>
    public static double? Of(IReadOnlyList<RowScore> rows, bool exponential) => Error(Influences(rows, exponential));

    /// <summary>Two scores of the same rows in the same order.</summary>
    /// <param name="score">The score.</param>
    /// <param name="reference">The other.</param>
    /// <param name="exponential">Whether they are exp of the mean.</param>
    /// <param name="isMean">Whether they are means over rows at all.</param>
    public static ScoreComparison Compare(
        (double Score, IReadOnlyList<RowScore> Rows) score, (double Score, IReadOnlyList<RowScore> Rows) reference, bool exponential, bool isMean)
    {
        if (score.Rows.Count != reference.Rows.Count) throw new ArgumentException($"{score.Rows.Count} rows and {reference.Rows.Count}.", nameof(reference));
        var pairs = score.Rows.Zip(reference.Rows).ToList();
        double[] differences = [.. Influences(score.Rows, exponential).Zip(Influences(reference.Rows, exponential), static (a, b) => a - b)];
        return new()
        {
            Reference = reference.Score,
            OnlyThis = exponential ? 0 : pairs.Count(static pair => pair.First.Value > pair.Second.Value),
            OnlyReference = exponential ? 0 : pairs.Count(static pair => pair.First.Value < pair.Second.Value),
            StandardError = isMean ? Error(differences) : null,
        };
    }

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

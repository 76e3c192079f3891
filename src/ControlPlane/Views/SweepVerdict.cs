using System.Globalization;

namespace FedRLora.ControlPlane.Views;

/// <summary>What may be said of the best of several runs: nothing where others are inside two standard errors of it.</summary>
internal static class SweepVerdict
{
    private const int Named = 5;

    /// <summary>Whether the first of two means is the better one.</summary>
    public static bool IsBetter(string? metric, double first, double second) =>
        RoundAggregate.IsPerplexity(metric) ? first < second : first > second;

    /// <summary>The first run of a comparison where its mean is beyond two standard errors of every other; else null.</summary>
    public static string? BestOf(Comparison comparison) =>
        comparison.Mean.Scores[0].Score is null || Near(comparison).Count > 0 ? null : comparison.Runs[0].Run;

    /// <summary>That in words, with how many runs were compared.</summary>
    /// <param name="comparison">Runs of which the first has the best mean.</param>
    public static IReadOnlyList<string> Of(Comparison comparison)
    {
        var (first, mean, metric) = (comparison.Runs[0].Run, comparison.Mean.Scores[0].Score, comparison.Mean.Metric);
        if (mean is null || metric is null) return ["no run is called the best: their clients have no mean of one metric"];
        var near = Near(comparison);
        var score = $"{Words.Score(mean)} {metric}";
        return
        [
            near.Count == 0
                ? $"best: {first} ({score}), beyond two standard errors of every other run"
                : $"no run is best beyond two standard errors: {first} has the best mean ({score}), but not by that much against "
                    + string.Join(", ", near.Take(Named)) + (near.Count > Named ? $" and {near.Count - Named} more" : ""),
            string.Create(CultureInfo.InvariantCulture, $"{comparison.Runs.Count} runs were compared: the best of so many looks better "
                + $"than it is, so score the chosen one on rows that had no part in the choice"),
        ];
    }

    private static List<string> Near(Comparison comparison) =>
    [
        .. comparison.Runs.Zip(comparison.Mean.Scores).Skip(1)
            .Where(static one => one.Second is { Difference: null } or { DifferenceError: null } or { IsNoise: true })
            .Select(static one => one.First.Run),
    ];
}

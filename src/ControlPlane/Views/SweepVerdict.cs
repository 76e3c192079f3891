using System.Globalization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>What may be said of the best of several runs: nothing where others are inside two standard errors of it.</summary>
internal static class SweepVerdict
{
    private const int Named = 5;

    /// <summary>Whether the first of two means is the better one.</summary>
    public static bool IsBetter(string? metric, double first, double second) =>
        RoundAggregate.IsPerplexity(metric) ? first < second : first > second;

    /// <summary>Clients in one text, equal where they are the same.</summary>
    public static string ClientsOf(FederationPlan plan) =>
        string.Join('\n', plan.Clients.Select(static client => client.Id).Order(StringComparer.Ordinal));

    /// <summary>
    /// The best mean first, those without one last; before that, those with the clients that most of them have, since a difference is
    /// over clients that both sides have.
    /// </summary>
    public static IEnumerable<T> Ranked<T>(
        IReadOnlyCollection<T> runs, Func<T, string?> metricOf, Func<T, double?> scoreOf, Func<T, string> clientsOf)
    {
        var most = runs.CountBy(clientsOf).MaxBy(static one => one.Value).Key;
        return runs.OrderBy(run => clientsOf(run) == most ? 0 : 1).ThenBy(static run => run, Comparer<T>.Create((a, b) =>
            scoreOf(a) is not { } first ? scoreOf(b) is null ? 0 : 1
                : scoreOf(b) is not { } second ? -1
                : first == second ? 0
                : IsBetter(metricOf(a), first, second) ? -1 : 1));
    }

    /// <summary>Says who was not compared, because they have other clients; null for nobody.</summary>
    public static string? Apart(IReadOnlyList<string> runs) => runs.Count == 0 ? null
        : $"not compared, since their clients are others: {string.Join(", ", runs.Take(Named))}"
            + (runs.Count > Named ? $" and {runs.Count - Named} more" : "");

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
        var apart = Apart([.. comparison.Runs.Index().Where(one => IsApart(comparison, one.Index)).Select(static one => one.Item.Run)]);
        var score = $"{Words.Score(mean)} {metric}";
        return
        [
            near.Count == 0
                ? $"best: {first} ({score}), beyond two standard errors of every other run{(apart is null ? "" : " with its clients")}"
                : $"no run is best beyond two standard errors: {first} has the best mean ({score}), but not by that much against "
                    + string.Join(", ", near.Take(Named)) + (near.Count > Named ? $" and {near.Count - Named} more" : ""),
            .. apart is null ? [] : (string[])[apart],
            string.Create(CultureInfo.InvariantCulture, $"{comparison.Runs.Count} runs were compared: the best of so many looks better "
                + $"than it is, so score the chosen one on rows that had no part in the choice"),
        ];
    }

    private static List<string> Near(Comparison comparison) =>
    [
        .. comparison.Runs.Zip(comparison.Mean.Scores).Index().Skip(1)
            .Where(one => one.Item.Second is { Difference: null } or { DifferenceError: null } or { IsNoise: true }
                && !IsApart(comparison, one.Index))
            .Select(static one => one.Item.First.Run),
    ];

    // It has scores, and none of a client that the first has one of.
    private static bool IsApart(Comparison comparison, int index) => index > 0
        && comparison.Clients.Any(client => client.Scores[index].Score is not null)
        && !comparison.Clients.Any(client => client.Scores[index].Score is not null && client.Scores[0].Score is not null);
}

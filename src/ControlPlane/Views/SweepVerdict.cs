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

    /// <summary>The clients of a plan, in an order that is the same for the same ones.</summary>
    public static IReadOnlyList<string> ClientsOf(FederationPlan plan) =>
        [.. plan.Clients.Select(static client => client.Id).Order(StringComparer.Ordinal)];

    /// <summary>Whether a difference of two runs is over no client at all.</summary>
    public static bool AreApart(IReadOnlyList<string> clients, IReadOnlyList<string> others) =>
        !clients.SequenceEqual(others) && !clients.Intersect(others).Any();

    /// <summary>
    /// The best mean first, those without one last. A difference is over the clients that both sides have, so what has the clients that
    /// most of the scored ones have comes before the others, and what shares none with it after them.
    /// </summary>
    public static IReadOnlyList<T> Ranked<T>(
        IEnumerable<T> runs, Func<T, string?> metricOf, Func<T, double?> scoreOf, Func<T, IReadOnlyList<string>> clientsOf)
    {
        List<T> ranked = [.. runs.Order(Comparer<T>.Create((a, b) =>
            scoreOf(a) is not { } first ? scoreOf(b) is null ? 0 : 1
                : scoreOf(b) is not { } second ? -1
                : first == second ? 0
                : IsBetter(metricOf(a), first, second) ? -1 : 1))];
        // Of as many, those of the best.
        var most = ranked.Where(run => scoreOf(run) is not null).GroupBy(run => string.Join('\n', clientsOf(run)), StringComparer.Ordinal)
            .MaxBy(static group => group.Count());
        if (most is null) return ranked;
        var common = clientsOf(most.First());
        return [.. ranked.OrderBy(run => scoreOf(run) is null ? 3 : clientsOf(run).SequenceEqual(common) ? 0
            : AreApart(clientsOf(run), common) ? 2 : 1)];
    }

    /// <summary>Says who was not compared, because they share no client with the first; null for nobody.</summary>
    public static string? Apart(IReadOnlyList<string> runs) => runs.Count == 0 ? null
        : $"not compared, since their clients are others: {string.Join(", ", runs.Take(Named))}"
            + (runs.Count > Named ? $" and {runs.Count - Named} more" : "");

    /// <summary>
    /// The first run of a comparison where its mean is beyond two standard errors of every other that it is compared with; null where it
    /// is not, or where there is none.
    /// </summary>
    /// <param name="comparison">Runs of which the first has the best mean.</param>
    /// <param name="apart">Those that share no client with it.</param>
    public static string? BestOf(Comparison comparison, IReadOnlyList<string> apart) =>
        comparison.Mean.Scores[0].Score is null || comparison.Runs.Count - apart.Count < 2 || Near(comparison, apart).Count > 0
            ? null : comparison.Runs[0].Run;

    /// <summary>That in words, with how many runs were compared.</summary>
    /// <inheritdoc cref="BestOf" path="/param"/>
    public static IReadOnlyList<string> Of(Comparison comparison, IReadOnlyList<string> apart)
    {
        var (first, mean, metric) = (comparison.Runs[0].Run, comparison.Mean.Scores[0].Score, comparison.Mean.Metric);
        string[] left = Apart(apart) is { } line ? [line] : [];
        if (mean is null || metric is null) return ["no run is called the best: their clients have no mean of one metric", .. left];
        var (near, count) = (Near(comparison, apart), comparison.Runs.Count - apart.Count);
        var score = $"{Words.Score(mean)} {metric}";
        if (count < 2) return [$"no run is called the best: {first} ({score}) is compared with none", .. left];
        var ofThese = apart.Count == 0 ? "" : " of the runs with its clients";
        return
        [
            near.Count == 0
                ? $"best{ofThese}: {first} ({score}), beyond two standard errors of every other"
                : $"no run is best beyond two standard errors: {first} has the best mean{ofThese} ({score}), but not by that much against "
                    + string.Join(", ", near.Take(Named)) + (near.Count > Named ? $" and {near.Count - Named} more" : ""),
            .. left,
            string.Create(CultureInfo.InvariantCulture, $"{count} runs were compared: the best of so many looks better "
                + $"than it is, so score the chosen one on rows that had no part in the choice"),
        ];
    }

    private static List<string> Near(Comparison comparison, IReadOnlyList<string> apart) =>
    [
        .. comparison.Runs.Zip(comparison.Mean.Scores).Skip(1)
            .Where(static one => one.Second is { Difference: null } or { DifferenceError: null } or { IsNoise: true })
            .Select(static one => one.First.Run).Except(apart),
    ];
}

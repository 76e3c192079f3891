using System.Globalization;

namespace FedRLora.ControlPlane.Views;

/// <summary>A finished run of a sweep over seeds.</summary>
/// <param name="Key">Tells apart what runs have in common that differ in their seed alone.</param>
/// <param name="Group">What that is called.</param>
/// <param name="Seed">Its seed.</param>
/// <param name="Run">What a comparison calls it.</param>
/// <param name="Metric">The metric of its mean.</param>
/// <param name="Score">Its mean over clients.</param>
/// <param name="Clients">Who these are (<see cref="SweepVerdict.ClientsOf"/>).</param>
public sealed record SeedRun(
    string Key, string Group, string Seed, string Run, string? Metric, double? Score, IReadOnlyList<string> Clients);

/// <summary>Runs of a sweep that differ in their seed alone, beside the group with the best mean.</summary>
public sealed record SeedGroup
{
    /// <summary>The arm and the values that they have in common.</summary>
    public required string Group { get; init; }

    /// <summary>Their seeds.</summary>
    public required IReadOnlyList<string> Seeds { get; init; }

    /// <summary>The metric; null where there is none, or more than one.</summary>
    public string? Metric { get; init; }

    /// <summary>The mean over seeds of the mean over clients.</summary>
    public double? Score { get; init; }

    /// <summary>The standard deviation over seeds; null with one.</summary>
    public double? Deviation { get; init; }

    /// <summary>The mean of the differences, seed by seed, to the group with the best mean; of the seeds that both have.</summary>
    public double? Difference { get; init; }

    /// <summary>
    /// The part of the difference's standard error that is of the test rows: the mean of the seeds' errors, which is the most that it can
    /// be, because every seed is scored on the same rows.
    /// </summary>
    public double? RowsError { get; init; }

    /// <summary>The part that is of the seeds: the differences' standard deviation over the root of their number; null with one
    /// seed.</summary>
    public double? SeedsError { get; init; }

    /// <summary>The root of the sum of both parts' squares; null where one is not known.</summary>
    public double? DifferenceError => RowsError is { } rows && SeedsError is { } seeds ? Math.Sqrt(rows * rows + seeds * seeds) : null;

    /// <summary>Whether it shares no client with the first group, and so is not compared with it.</summary>
    public bool HasOtherClients { get; init; }

    /// <summary>Whether the difference is inside two of its standard errors, or its error is not known.</summary>
    public bool IsNoise => Difference is { } difference && (DifferenceError is null || FinalRow.IsInside(difference, DifferenceError));
}

/// <summary>What a sweep over seeds says of its values.</summary>
/// <param name="Groups">The groups, that with the best mean first; those without a mean last.</param>
internal sealed record SeedTable(IReadOnlyList<SeedGroup> Groups)
{
    /// <summary>Brings the runs of each group together; null where no group has two seeds.</summary>
    /// <param name="runs">The finished runs, in their order.</param>
    /// <param name="compare">Compares runs with the first of them.</param>
    public static async Task<SeedTable?> OfAsync(IReadOnlyList<SeedRun> runs, Func<IReadOnlyList<string>, Task<Comparison>> compare)
    {
        var groups = runs.GroupBy(static run => run.Key, StringComparer.Ordinal)
            .Select(static group => (Runs: group.ToList(), Group: Alone([.. group]))).ToList();
        if (!groups.Any(static group => group.Runs.Count > 1)) return null;
        // Scores of several metrics have no order.
        if (groups.Select(static group => group.Group.Metric).OfType<string>().Distinct().Count() > 1)
            return new([.. groups.Select(static group => group.Group)]);
        List<(List<SeedRun> Runs, SeedGroup Group)> ranked =
        [
            .. SweepVerdict.Ranked(
                groups, static one => one.Group.Metric, static one => one.Group.Score, static one => one.Runs[0].Clients),
        ];
        var best = ranked[0].Runs;
        var beside = new Dictionary<string, ComparedScore>(StringComparer.Ordinal);
        foreach (var one in best)
        {
            var others = ranked.Skip(1).SelectMany(static group => group.Runs).Where(run => run.Seed == one.Seed).ToList();
            foreach (var some in others.Chunk(Comparison.Most - 1))
            {
                var comparison = await compare([one.Run, .. some.Select(static run => run.Run)]);
                foreach (var (run, score) in some.Zip(comparison.Mean.Scores.Skip(1))) beside[run.Run] = score;
            }
        }

        return new(
        [
            ranked[0].Group, .. ranked.Skip(1).Select(group => Beside(group.Group, group.Runs, beside) with
            {
                HasOtherClients = SweepVerdict.AreApart(group.Runs[0].Clients, best[0].Clients),
            }),
        ]);
    }

    /// <summary>The groups as aligned columns, and what may be said of the best.</summary>
    /// <param name="width">Columns of the terminal; null where nothing breaks lines.</param>
    public string ToText(int? width)
    {
        var table = PlainTable.Of(
            ["over seeds", "seeds", "mean", "s.d.", "vs first", "s.e.", "of rows", "of seeds"],
            [
                .. Groups.Select(static group => (string[])
                [
                    group.Group, group.Seeds.Count.ToString(CultureInfo.InvariantCulture), Words.Score(group.Score),
                    Words.Score(group.Deviation), .. group.HasOtherClients ? (string[])["other clients", "", "", ""]
                        : group.Difference is { } difference ?
                        [
                            Words.Difference(difference) + (group.IsNoise ? $" {FinalTable.Noise}" : ""),
                            Words.Score(group.DifferenceError), Words.Score(group.RowsError), Words.Score(group.SeedsError),
                        ]
                        : ["", "", "", ""],
                ]),
            ], width);
        return $"{table}{Words.Broken(Verdict(), width)}\n";
    }

    private string Verdict()
    {
        if (Groups.Select(static group => group.Metric).OfType<string>().Distinct().Count() > 1)
            return "over seeds, the groups have different metrics and are not compared";
        var near = Groups.Skip(1).Where(static group => !group.HasOtherClients && (group.Difference is null || group.IsNoise))
            .Select(static group => group.Group).ToList();
        var apart = SweepVerdict.Apart([.. Groups.Where(static group => group.HasOtherClients).Select(static group => group.Group)]);
        return (Groups[0] is not { Score: { } score, Metric: { } metric } first ? "no group has a mean of one metric"
            : Groups.Count(static group => !group.HasOtherClients) == 1 ? $"over seeds, {Words.Score(score)} {metric}"
            : near.Count == 0
                ? $"over seeds, {first.Group} is the best ({Words.Score(score)} {metric}), beyond two standard errors of every other"
            : $"over seeds, {first.Group} has the best mean{(apart is null ? "" : " of those with its clients")} "
                + $"({Words.Score(score)} {metric}), but not by two standard errors against "
                + string.Join(", ", near)) + (apart is null ? "" : $"; {apart}");
    }

    private static SeedGroup Alone(IReadOnlyList<SeedRun> runs)
    {
        var scores = runs.Select(static run => run.Score).OfType<double>().ToList();
        var metric = runs.Select(static run => run.Metric).Distinct().ToList() is [{ } one] && scores.Count == runs.Count ? one : null;
        return new()
        {
            Group = runs[0].Group, Seeds = [.. runs.Select(static run => run.Seed)], Metric = metric,
            Score = metric is null ? null : scores.Average(), Deviation = metric is null ? null : DeviationOf(scores),
        };
    }

    private static SeedGroup Beside(SeedGroup group, List<SeedRun> runs, Dictionary<string, ComparedScore> beside)
    {
        var scores = runs.Select(run => beside.GetValueOrDefault(run.Run)).OfType<ComparedScore>()
            .Where(static score => score.Difference is not null).ToList();
        if (scores.Count == 0) return group;
        var differences = scores.Select(static score => score.Difference!.Value).ToList();
        return group with
        {
            Difference = differences.Average(),
            RowsError = scores.All(static score => score.DifferenceError is not null)
                ? scores.Average(static score => score.DifferenceError!.Value) : null,
            SeedsError = DeviationOf(differences) / Math.Sqrt(differences.Count),
        };
    }

    private static double? DeviationOf(List<double> values)
    {
        if (values.Count < 2) return null;
        var mean = values.Average();
        return Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1));
    }
}

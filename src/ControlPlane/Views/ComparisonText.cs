using System.Globalization;

namespace FedRLora.ControlPlane.Views;

/// <summary>A comparison as aligned columns: runs go by letters, so that no column is as wide as a folder's name.</summary>
internal static class ComparisonText
{
    private const int MostKeys = 40, ShortDigest = 12, MostAcross = 5;

    /// <summary>All of it.</summary>
    /// <param name="comparison">The comparison.</param>
    /// <param name="width">Columns of the terminal; null where nothing breaks lines.</param>
    /// <param name="withClients">Whether there is a row for each client.</param>
    public static string Of(Comparison comparison, int? width, bool withClients = true)
    {
        List<string> parts = [Runs(comparison, width)];
        if (comparison.Plan.Count > 0) parts.Add(Plan(comparison, width));
        // More runs are wider than any terminal: --json has them.
        if (withClients && comparison.Runs.Count <= MostAcross) parts.Add(Clients(comparison, width));
        parts.Add(string.Concat(Lines(comparison).Select(line => Words.Broken(line, width) + "\n")));
        return string.Join('\n', parts.Where(static part => part.Length > 0));
    }

    /// <summary>A, B, ... Z, A1, ...: what a run is called in columns.</summary>
    public static string Letter(int run) =>
        string.Create(CultureInfo.InvariantCulture, $"{(char)('A' + run % 26)}{(run < 26 ? "" : $"{run / 26}")}");

    private static string Runs(Comparison comparison, int? width) => PlainTable.Of(
        ["", "run", "rounds", "mean", "s.e.", "vs A", "s.e.", "digest", "parts", "adapters part"],
        [
            .. comparison.Runs.Select((run, index) => (string[])
            [
                Letter(index), run.Run, string.Create(CultureInfo.InvariantCulture, $"{run.Committed ?? 0}/{run.Rounds}"),
                .. Cells(comparison.Mean.Scores[index], index), run.Sha256?[..ShortDigest] ?? Words.None,
                Parts(run.PartsIn, index), Parts(run.StatesPartIn, index),
            ]),
        ], width);

    private static string Parts(int? round, int index) => index == 0 ? ""
        : round is { } number ? string.Create(CultureInfo.InvariantCulture, $"round {number}") : "never";

    private static string Plan(Comparison comparison, int? width)
    {
        var table = PlainTable.Of(
            ["plan", .. comparison.Runs.Select(static (_, index) => Letter(index))],
            [
                .. comparison.Plan.Take(MostKeys).Select(static one =>
                    (string[])[one.Key, .. one.Values.Select(static value => value ?? Words.None)]),
            ], width);
        return comparison.Plan.Count > MostKeys ? $"{table}{comparison.Plan.Count - MostKeys} more keys: --json has all\n" : table;
    }

    private static string Clients(Comparison comparison, int? width)
    {
        string[] header =
        [
            "client", "task", "metric",
            .. comparison.Runs.SelectMany(static (_, index) => index == 0
                ? (string[])["A", "s.e."] : [Letter(index), "s.e.", $"{Letter(index)}-A", "s.e."]),
        ];
        return PlainTable.Of(header, [.. comparison.Clients.Append(comparison.Mean).Select(static row => (string[])
        [
            row.Client, row.Task, row.Metric ?? Words.None, .. row.Scores.SelectMany(static (score, index) =>
                index == 0 ? Cells(score, index).Take(2) : Cells(score, index)),
        ])], width);
    }

    private static string[] Cells(ComparedScore score, int index) =>
    [
        Words.Score(score.Score), Words.Score(score.StandardError),
        index == 0 ? "" : Words.Difference(score.Difference) + (score.IsNoise ? $" {FinalTable.Noise}" : ""),
        index == 0 ? "" : Words.Score(score.DifferenceError),
    ];

    private static IEnumerable<string> Lines(Comparison comparison)
    {
        if (comparison.Clients.Append(comparison.Mean).SelectMany(static row => row.Scores).Any(static score => score.IsNoise))
        {
            yield return $"{FinalTable.Noise} inside two standard errors (s.e., over test rows): "
                + "other rows might as well show no difference";
        }

        if (comparison.Runs.Count > MostAcross) yield return "Clients: --json has each in every run";
        foreach (var note in comparison.Notes) yield return $"note: {note}";
    }
}

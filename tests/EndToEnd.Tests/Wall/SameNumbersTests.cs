using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.EndToEnd.Tests.Trackers;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>Whoever looks at a run sees the numbers of its stored rounds to the last digit, and where there is none, why.</summary>
[Collection(BrowserTests.Name)]
public sealed partial class SameNumbersTests(OneRun run) : IClassFixture<OneRun>
{
    private readonly StoredNumbers _stored = new(run.Folder, OneRun.Name), _local = new(run.Folder, OneRun.Reference);

    private static readonly (string Key, string Name)[] Spreads =
        [("loss", "loss"), ("score", "score"), ("norm", "update norm"), ("clientSeconds", "client seconds")];

    [Fact]
    public void Lines_the_API_and_its_events_have_them()
    {
        var lines = File.ReadAllLines(Path.Combine(run.Folder, "metrics.jsonl"));
        Assert.Equal(lines, run.Lines.Take(lines.Length));
        Assert.Equal(lines, run.Answers["/metrics?format=jsonl"].Split('\n', StringSplitOptions.RemoveEmptyEntries));
        RequireSame(_stored.Of, lines.Select(Parsed).SelectMany(static line => Numbers(line.GetProperty("summary"))));
        var locals = File.ReadAllLines(Path.Combine(run.Folder, "local-only", "metrics.jsonl"));
        Assert.Equal(locals, run.Lines.Skip(lines.Length).Take(locals.Length));
        RequireSame(_local.Of, locals.Select(Parsed).SelectMany(static line => Numbers(line.GetProperty("summary"))));
        RequireSame(_stored.OfClients, lines.Select(Parsed).SelectMany(static line => line.GetProperty("clients").EnumerateArray())
            .SelectMany(static row => Row(row, static (row, key) => key.Split('.').Aggregate((JsonElement?)row,
                static (at, part) => at?.TryGetProperty(part, out var value) == true ? value : null)?.GetDouble(),
                "meanLoss score standardError base.reference base.standardError productNorm updateBytes clientSeconds")));

        // a run and a snapshot have tasks of the last round alone
        var rounds = Parsed(run.Answers[""]).GetProperty("rounds").EnumerateArray().ToList();
        RequireSame(Where(key => key.Round == OneRun.Rounds || !OfTask().IsMatch(key.Name)), rounds.SelectMany(static one => Numbers(one)));
        foreach (var (name, data) in run.Events)
        {
            if (name == "round") Assert.Equal(lines[Parsed(data).GetProperty("round").GetInt32()], data);
            else RequireIn(_stored.Of, Parsed(data).GetProperty("rounds").EnumerateArray().SelectMany(static one => Numbers(one)));
        }

        var refused = Parsed(lines[^1]).GetProperty("clients").EnumerateArray()
            .Single(static one => one.GetProperty("client").GetString() == OneRun.Refused);
        Assert.False(refused.TryGetProperty("meanLoss", out _));
        Assert.Contains("NaN", refused.GetProperty("reason").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void CSV_files_have_them_and_are_empty_where_there_is_none()
    {
        var rows = Csv("metrics.csv");
        Assert.Equal(File.ReadAllText(Path.Combine(run.Folder, "metrics.csv")), run.Answers["/metrics?format=csv"]);
        RequireSame(_stored.OfClients, rows.SelectMany(static row => Row(row, static (row, key) => Number(row[key]),
            "mean_loss score standard_error base_score difference_error product_norm update_bytes client_seconds")));
        Assert.Equal("", rows.Single(static row => (row["round"], row["client"]) == ($"{OneRun.Rounds}", OneRun.Refused))["mean_loss"]);
        RequireIn(_stored.Of, rows.Select(static row =>
            new KeyValuePair<(int, string), double>((Round(row), "seconds"), Number(row["seconds"])!.Value)));

        var tasks = new Dictionary<string, string>
        {
            ["score"] = "score by task/", ["standard_error"] = "error/", ["base_score"] = "base/", ["difference_error"] = "base error/",
            ["mean_loss"] = "loss by task/",
        };
        RequireSame(Where(key => tasks.Values.Any(name => key.Name.StartsWith(name, StringComparison.Ordinal))), Csv("metrics-by-task.csv")
            .SelectMany(row => tasks.Select(one => (Name: one.Value + row["task"], Value: Number(row[one.Key])))
                .Where(static one => one.Value is not null)
                .Select(one => new KeyValuePair<(int, string), double>((Round(row), one.Name), one.Value!.Value))));
    }

    [Fact]
    public void Trackers_have_them_and_no_point_where_there_is_none()
    {
        var tracked = Where(static key => !key.Name.EndsWith("/n", StringComparison.Ordinal) && !NotTracked().IsMatch(key.Name))
            .Where(one => !one.Key.Name.EndsWith("/left out", StringComparison.Ordinal)
                || one.Value + _stored.Of[(one.Key.Round, one.Key.Name.Replace("left out", "n", StringComparison.Ordinal))] > 0).ToList();
        Assert.DoesNotContain(tracked, static one => one.Key == (OneRun.Rounds, "loss by task/topic"));
        RequireSame(tracked, run.Mlflow.Points.Where(static point => !point.Key.StartsWith("clients/", StringComparison.Ordinal))
            .Select(static point => new KeyValuePair<(int, string), double>(((int)point.Step, point.Key), point.Value)));
        var points = EventRecords.Points(EventRecords.FileIn(run.Folder, "tensorboard", "federated"));
        RequireSame(tracked.Select(static one => new KeyValuePair<(int, string), double>(one.Key, (float)one.Value)),
            points.Where(static point => !point.Key.Tag.StartsWith("clients/", StringComparison.Ordinal))
                .Select(static point => new KeyValuePair<(int, string), double>(((int)point.Key.Step, point.Key.Tag), point.Value)));
    }

    [Fact]
    public void A_terminal_has_them_with_its_decimals()
    {
        var lines = run.Terminal.Split('\n').Where(static line => line.StartsWith("round ", StringComparison.Ordinal)).ToList();
        foreach (var (stored, shown) in new[] { (_stored, lines.Take(OneRun.Rounds + 1)), (_local, lines.Skip(OneRun.Rounds + 1)) })
        {
            Assert.Equal(Enumerable.Range(0, OneRun.Rounds + 1).Select(round => string.Create(CultureInfo.InvariantCulture,
                $"round {round}/{OneRun.Rounds}{(round > 0 ? $"  loss {stored.Of[(round, "loss/mean")]:0.000}" : "")}"
                + $"  topic {stored.Of[(round, "score by task/topic")]:0.000}  opinion {stored.Of[(round, "score by task/opinion")]:0.000}"
                + $"  mean {stored.Of[(round, "score/mean")]:0.000}  {stored.Of[(round, "seconds")]:0.0} s")),
                shown.Select(static line => Seconds().Match(line).Value));
        }

        Assert.Matches($@"refused: {OneRun.Refused} \(.* holds NaN", lines[OneRun.Rounds]);
    }

    private IEnumerable<KeyValuePair<(int Round, string Name), double>> Where(Func<(int Round, string Name), bool> isSo) =>
        _stored.Of.Where(one => isSo(one.Key));

    private static JsonElement Parsed(string text) => JsonDocument.Parse(text).RootElement;

    // Of a round in few numbers.
    private static IEnumerable<KeyValuePair<(int Round, string Name), double>> Numbers(JsonElement summary)
    {
        var round = summary.GetProperty("round").GetInt32();
        var found = new List<(string Name, double? Value)>
        {
            ("agreement", Value(summary, "coherence")), ("bytes sent", Value(summary, "updateBytes")),
            ("seconds", Value(summary, "seconds")),
        };
        found.AddRange(summary.GetProperty("timing").GetProperty("parts").EnumerateObject()
            .Select(static part => ($"seconds by part/{part.Name}", (double?)part.Value.GetDouble())));
        foreach (var (key, name) in Spreads) found.AddRange(Spread(name, summary.GetProperty(key)));
        foreach (var task in summary.TryGetProperty("tasks", out var tasks) ? tasks.EnumerateArray().ToArray() : [])
        {
            var name = task.GetProperty("task").GetString();
            var (loss, score) = (task.GetProperty("loss"), task.GetProperty("score"));
            found.AddRange(
            [
                .. Spread($"loss of {name}", loss), .. Spread($"score of {name}", score), ($"loss by task/{name}", Value(loss, "mean")),
                ($"score by task/{name}", Value(score, "mean")), ($"base/{name}", Value(task, "base")),
                ($"error/{name}", Value(task, "standardError")), ($"base error/{name}", Value(task, "differenceError")),
            ]);
        }

        return found.Where(static one => one.Value is not null)
            .Select(one => new KeyValuePair<(int, string), double>((round, one.Name), one.Value!.Value));
    }

    private static IEnumerable<(string Name, double? Value)> Spread(string name, JsonElement spread) =>
    [
        .. StoredNumbers.Parts.Select(part => ($"{name}/{part}", Value(spread, part))), ($"{name}/n", Value(spread, "n")),
        ($"{name}/left out", Value(spread, "leftOut")),
    ];

    private static double? Value(JsonElement of, string key) =>
        of.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;

    // What a client has in a round, by the names of stored numbers.
    private static IEnumerable<KeyValuePair<(int Round, string Client, string Name), double>> Row<T>(
        T row, Func<T, string, double?> number, string keys)
    {
        string[] names = ["loss", "score", "error", "base", "base error", "norm", "bytes", "seconds"];
        var (round, client) = row is JsonElement json ? (json.GetProperty("round").GetInt32(), json.GetProperty("client").GetString()!)
            : row is Dictionary<string, string> cells ? (Round(cells), cells["client"]) : throw new ArgumentException(null, nameof(row));
        return names.Zip(keys.Split(' '), (name, key) => (name, Value: number(row, key))).Where(static one => one.Value is not null)
            .Select(one => new KeyValuePair<(int, string, string), double>((round, client, one.name), one.Value!.Value));
    }

    private List<Dictionary<string, string>> Csv(string file)
    {
        var lines = File.ReadAllText(Path.Combine(run.Folder, file)).Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        var header = lines[0].Split(',');
        return
        [
            .. lines.Skip(1).Select(line => header.Zip(line.Split(',')).ToDictionary(static one => one.First, static one => one.Second)),
        ];
    }

    private static int Round(Dictionary<string, string> row) => int.Parse(row["round"], CultureInfo.InvariantCulture);

    private static double? Number(string? text) => string.IsNullOrEmpty(text) ? null : double.Parse(text, CultureInfo.InvariantCulture);

    // The same numbers, each once, under the same names.
    private static void RequireSame<T>(IEnumerable<KeyValuePair<T, double>> expected, IEnumerable<KeyValuePair<T, double>> actual)
        where T : notnull
    {
        List<KeyValuePair<T, double>> all = [.. actual];
        Assert.Equal(expected.Select(Text).Order(StringComparer.Ordinal), all.Select(Text).Order(StringComparer.Ordinal));
        Assert.NotEmpty(all);
    }

    // Some of them.
    private static void RequireIn<T>(Dictionary<T, double> stored, IEnumerable<KeyValuePair<T, double>> actual) where T : notnull
    {
        foreach (var one in actual) Assert.Equal($"{one.Key} {stored[one.Key]:R}", $"{one.Key} {one.Value:R}");
    }

    private static string Text<T>(KeyValuePair<T, double> one) => string.Create(CultureInfo.InvariantCulture, $"{one.Key} {one.Value:R}");

    [GeneratedRegex(@" of |/(opinion|topic)$")]
    private static partial Regex OfTask();

    [GeneratedRegex(@" of |^error/|^base error/")]
    private static partial Regex NotTracked();

    [GeneratedRegex(@"^.*?\d s")]
    private static partial Regex Seconds();
}

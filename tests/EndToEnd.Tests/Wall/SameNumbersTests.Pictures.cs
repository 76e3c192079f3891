using System.Globalization;
using System.Text.Json;
using System.Xml.Linq;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>What people look at has each number to the last digit behind the rounded one.</summary>
public sealed partial class SameNumbersTests
{
    private static readonly (string Column, string Key)[] Outcome =
    [
        ("base", "base"), ("local", "localOnly"), ("federated", "federated"), ("federated s.e.", "standardError"),
        ("vs local", "difference"), ("vs local s.e.", "differenceError"), ("majority", "majorityShare"), ("rows", "rows"),
        ("sent", "sentBytes"),
    ];

    [Fact]
    public void A_result_is_of_the_last_scores()
    {
        var result = Parsed(run.Answers["/result"]);
        var final = Parsed(run.Lines[^1]);
        Assert.Equal(final.GetProperty("final").GetRawText(), result.GetProperty("clients").GetRawText());
        foreach (var key in new[] { "mean", "tasks" })
            Assert.Equal(final.GetProperty(key).GetRawText(), result.GetProperty(key).GetRawText());
        foreach (var row in result.GetProperty("clients").EnumerateArray().Append(result.GetProperty("mean")))
        {
            var client = row.GetProperty("client").GetString()!;
            var frozen = client == "mean" ? _stored.Of[(0, "score/mean")] : _stored.OfClients[(OneRun.Rounds, client, "base")];
            Assert.Equal([ScoreIn(_stored), ScoreIn(_local), frozen],
                new[] { "federated", "localOnly", "base" }.Select(key => Value(row, key)));

            double? ScoreIn(StoredNumbers stored) => client == "mean" ? stored.Of[(OneRun.Rounds, "score/mean")]
                : stored.OfClients[(OneRun.Rounds, client, "score")];
        }

        foreach (var row in result.GetProperty("tasks").EnumerateArray())
        {
            var task = row.GetProperty("task").GetString();
            foreach (var (key, name) in new[]
            {
                ("federated", "score by task/"), ("base", "base/"), ("standardError", "error/"), ("baseError", "base error/"),
            })
                Assert.Equal(_stored.Of[(OneRun.Rounds, name + task)], Value(row, key));
            Assert.Equal(_local.Of[(OneRun.Rounds, $"score by task/{task}")], Value(row, "localOnly"));
        }
    }

    [Fact]
    public void The_report_has_them_in_titles_and_names_what_is_none()
    {
        var report = XDocument.Load(Path.Combine(run.Folder, "report.html"));
        var meanError = Value(Parsed(run.Answers["/result"]).GetProperty("mean"), "standardError");
        foreach (var (title, name) in new[]
        {
            ("Score (accuracy), all clients", "score"), ("Training loss per token, all clients", "loss"),
            ("Norm of the clients' updates", "update norm"),
        })
        {
            var expected = Rounds(name + "/mean").SelectMany(round => new[]
            {
                $"mean over clients, round {round}: {At(round, "mean")}"
                    + (name == "score" && round == OneRun.Rounds ? $" ± {Exact(meanError)}" : "")
                    + $", band {At(round, "p10")} to {At(round, "p90")}",
                $"median, round {round}: {At(round, "median")}", $"worst client, round {round}: {At(round, "worst")}",
            });
            if (name != "update norm")
            {
                expected = expected.Concat(Rounds(name + "/mean")
                    .Select(round => $"local only, mean over clients, round {round}: {Exact(_local.Of[(round, $"{name}/mean")])}"));
            }

            Assert.Equal(expected.Order(StringComparer.Ordinal), Points(title).Order(StringComparer.Ordinal));
            string At(int round, string part) => Exact(_stored.Of[(round, $"{name}/{part}")]);
        }

        Assert.Equal(Rounds("agreement").Select(round => $"agreement, round {round}: {Exact(_stored.Of[(round, "agreement")])}"),
            Points("Agreement of the clients' updates (1: all in one direction)"));
        foreach (var task in new[] { "opinion", "topic" })
        {
            var (score, loss) = ($"score by task/{task}", $"loss by task/{task}");
            Assert.Equal(
                Rounds(score).Select(round => $"{task}, round {round}: {Exact(_stored.Of[(round, score)])} ± "
                    + Exact(_stored.Of[(round, $"error/{task}")])), PointsOf("Score (accuracy), by task", task));
            Assert.Equal(Rounds(loss).Select(round => $"{task}, round {round}: {Exact(_stored.Of[(round, loss)])}"),
                PointsOf("Training loss per token, by task", task));
        }

        var rows = report.Descendants("h2").Single(static one => one.Value == "Rounds").ElementsAfterSelf("div").First()
            .Descendants("tr").ToList();
        var header = rows[0].Elements().Select(static cell => cell.Value).ToList();
        foreach (var (row, round) in rows.Skip(1).Select(static (row, round) => (row.Elements().ToList(), round)))
        {
            foreach (var (column, name) in new[]
            {
                ("training loss", "loss/mean"), ("mean score", "score/mean"), ("agreement", "agreement"), ("sent", "bytes sent"),
                ("time", "seconds"), ("waited", "seconds by part/wait"),
            })
            {
                double? stored = _stored.Of.TryGetValue((round, name), out var value) ? value : null;
                Assert.Equal(stored, Number(row[header.IndexOf(column)].Attribute("title")?.Value));
            }
        }

        Assert.EndsWith(" (1 left out)", rows[^1].Elements().ElementAt(header.IndexOf("training loss")).Value, StringComparison.Ordinal);
        var refused = $"{OneRun.Refused} (round {OneRun.Rounds}): refused, ";
        Assert.Contains("NaN", report.Descendants("li").Single(one => one.Value.StartsWith(refused, StringComparison.Ordinal)).Value,
            StringComparison.Ordinal);

        IEnumerable<int> Rounds(string name) =>
            Enumerable.Range(0, OneRun.Rounds + 1).Where(round => _stored.Of.ContainsKey((round, name)));

        IEnumerable<string> PointsOf(string title, string task) => Points(title)
            .Where(point => point.StartsWith($"{task}, ", StringComparison.Ordinal)).Select(static point => point.Split(", band")[0]);

        List<string> Points(string title) => [.. report.Descendants("figure").Single(figure => figure.Element("h3")!.Value == title)
            .Descendants().Where(static one => one.Name.LocalName == "circle").Select(static one => one.Value)];
    }

    [BrowserFact]
    public void The_page_has_them_and_names_what_is_none()
    {
        List<Shown> all = [.. run.Page!.Value.EnumerateArray().Select(static one => one.Deserialize<Shown>(JsonSerializerOptions.Web)!)];
        var result = Parsed(run.Answers["/result"]);
        var charts = new List<(string Where, string Name, string Mean, JsonElement Last)>
        {
            ("score", "score", "score/mean", result.GetProperty("mean")), ("loss", "loss", "loss/mean", default),
            ("norm", "update norm", "", default),
        };
        foreach (var task in result.GetProperty("tasks").EnumerateArray())
        {
            var name = task.GetProperty("task").GetString();
            charts.Add(($"{name} score", $"score of {name}", $"score of {name}/mean", task));
            charts.Add(($"{name} loss", $"loss of {name}", $"loss of {name}/mean", default));
        }

        foreach (var (where, name, local, last) in charts)
        {
            foreach (var one in all.Where(one => one.Where == where && !one.Name.StartsWith("note", StringComparison.Ordinal)))
            {
                var isScore = last.ValueKind == JsonValueKind.Object;
                Assert.Equal((one.Name, one.Round, one.Name switch
                {
                    "round" => one.Round, "base" => Value(last, "base"), "local-only" => Known(_local, one.Round, local),
                    "largest" => Known(_stored, one.Round, name + "/worst"), var part => Known(_stored, one.Round, $"{name}/{part}"),
                }), (one.Name, one.Round, Number(one.Value)));
                Assert.Equal(isScore && one.Name == "mean" && one.Round == OneRun.Rounds ? Value(last, "standardError") : null,
                    Number(one.Error));
            }

            double[] counts = [.. StoredNumbers.Counts.Select(count => _stored.Of[(OneRun.Rounds, $"{name}/{count}")])];
            Assert.Equal(counts[1] > 0 ? counts : counts[..1],
                all.Where(one => one.Where == where && one.Name.StartsWith("note", StringComparison.Ordinal))
                    .Select(static one => Number(one.Value)!.Value));
        }

        // legends of three charts of scores, three of losses, norms and coherence; what each is of, and what three leave out
        Assert.Equal(3 * 4 * 8 + 3 * 3 * 7 + 3 * 5 + 3 * 2 + charts.Count + 3,
            all.Count(one => charts.Any(chart => chart.Where == one.Where) || one.Where == "coherence"));
        foreach (var one in all.Where(static one => one.Where == "coherence" && one.Name != "round"))
            Assert.Equal(_stored.Of[(one.Round, "agreement")], Number(one.Value));
        foreach (var one in all.Where(static one => one.Where == "timeline"))
        {
            var name = one.Name == "seconds" ? one.Name : $"seconds by part/{one.Name}";
            Assert.Equal((one.Round, name, Known(_stored, one.Round, name)), (one.Round, name, Number(one.Value)));
        }

        Assert.Equal(_stored.Of[(OneRun.Rounds, "bytes sent")], Number(all.Single(static one => one.Where == "bytes").Value));
        Assert.Equal(new[] { "median", "p90", "worst", "n" }.Select(part => _stored.Of[(OneRun.Rounds, $"client seconds/{part}")]),
            all.Where(static one => one.Where == "client seconds").Select(static one => Number(one.Value)!.Value));
        foreach (var row in result.GetProperty("clients").EnumerateArray().Append(result.GetProperty("mean")))
        {
            foreach (var (column, key) in Outcome)
                Assert.Equal(Value(row, key), Number(Cell($"result {row.GetProperty("client").GetString()}", column).Value));
        }

        foreach (var client in new[] { "ada", "bee", "cee", OneRun.Refused })
        {
            double[] own = [.. Enumerable.Range(1, OneRun.Rounds).Select(round => _stored.OfClients[(round, client, "seconds")])];
            var median = own.Order().ElementAt(1);
            Assert.Equal([own[^1], median, own[^1] / median], new[] { "last", "its median", "times" }
                .Select(column => Number(Cell($"stragglers {client}", column).Value)!.Value));
        }

        foreach (var one in all.Where(static one => one.Where is ['c', 'l', 'i', 'e', 'n', 't', ' ', >= '0' and <= '9', ..]))
        {
            var name = one.Name switch
            {
                "loss" or "score" or "base" or "norm" => one.Name,
                "score s.e." => "error", "update" => "bytes", "time" => "seconds", _ => null,
            };
            if (name is null) continue;
            double? stored = _stored.OfClients.TryGetValue((one.Round, OneRun.Refused, name), out var value) ? value : null;
            Assert.Equal((one.Round, name, stored), (one.Round, name, Number(one.Value)));
        }

        Assert.Contains("NaN", Cell($"client {OneRun.Rounds}", "why").Text, StringComparison.Ordinal);
        Assert.Contains("NaN", Cell($"troubles {OneRun.Rounds}", "reason").Text, StringComparison.Ordinal);
        Assert.Equal(OneRun.Refused, Cell($"troubles {OneRun.Rounds}", "which").Text);

        Shown Cell(string where, string name) =>
            Assert.Single(all.Where(one => one.Where == where), one => one.Name == name);
    }

    private static double? Known(StoredNumbers stored, int round, string name) =>
        stored.Of.TryGetValue((round, name), out var value) ? value : null;

    private static string Exact(double? value) => value!.Value.ToString("R", CultureInfo.InvariantCulture);

    // A number of the page: behind what is seen stands what it is.
    private sealed record Shown(string Where, int Round, string Name, string? Value, string? Error, string? Text);
}

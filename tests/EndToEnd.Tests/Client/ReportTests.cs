using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using System.Xml.Linq;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;

namespace FedRLora.EndToEnd.Tests.Client;

/// <summary>The report's numbers, and its pictures as files.</summary>
public sealed class ReportTests : IDisposable
{
    private const string Hostile = "</title><script>alert(1)</script><img src=x onerror=alert(1)>&\"'\0\u0007\ud800";
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-report-").FullName;

    private static ReportFacts Facts { get; } = new(new DateTimeOffset(2026, 3, 4, 5, 6, 7, TimeSpan.Zero), "0.1.0", Hosts: 1);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Every_number_of_the_rounds_and_of_the_outcome_is_that_of_the_metrics_to_the_last_digit()
    {
        var rounds = SampleRun.Rounds(1 / 7.0);
        var document = XDocument.Parse(HtmlReport.Render(SampleRun.Plan, rounds, SampleRun.Rounds(), SampleRun.Yaml, Facts));
        JsonElement[] lines = [.. rounds.Select(static round => JsonDocument.Parse(
            MetricsText.JsonLine(RoundView.Of(round, SampleRun.Plan))).RootElement)];

        var rows = Rows("Rounds");
        Assert.Equal(lines.Length, rows.Count);
        foreach (var (row, line) in rows.Zip(lines))
        {
            foreach (var (heading, name) in new[]
            {
                ("training loss", "meanLoss"), ("mean score", "meanScore"), ("agreement", "coherence"), ("sent", "updateBytes"),
                ("time", "seconds"),
            })
            {
                var isKnown = line.TryGetProperty(name, out var number) && number.ValueKind == JsonValueKind.Number;
                var written = isKnown ? number.GetRawText() : null;
                Assert.Equal(written, row[heading].Attribute("title")?.Value);
                if (written is null) Assert.Equal("-", row[heading].Value);
            }
        }

        foreach (var (row, client) in Rows("Outcome (accuracy)").Zip(lines[^1].GetProperty("clients").EnumerateArray()))
        {
            Assert.Equal(client.GetProperty("client").GetString(), row["client"].Value);
            Assert.Equal(client.GetProperty("score").GetRawText(), row["federated"].Attribute("title")!.Value);
            Assert.Equal(client.GetProperty("majorityShare").GetRawText(), row["majority"].Attribute("title")!.Value);
        }

        var drawn = Figure(document, "Score (accuracy), all clients").Descendants("circle").Select(static c => c.Value).ToHashSet();
        Assert.Contains(drawn, text => text.StartsWith(
            $"mean over clients, round 3: {lines[3].GetProperty("meanScore").GetRawText()} ± ", StringComparison.Ordinal));

        List<Dictionary<string, XElement>> Rows(string title)
        {
            var heading = document.Descendants("h2").Single(heading => heading.Value == title);
            var table = heading.ElementsAfterSelf("div").First().Element("table")!;
            string[] headings = [.. table.Element("thead")!.Descendants("th").Select(static cell => cell.Value)];
            return [.. table.Element("tbody")!.Elements("tr").Select(row => headings.Zip(row.Elements())
                .DistinctBy(static cell => cell.First).ToDictionary(static cell => cell.First, static cell => cell.Second))];
        }
    }

    [Fact]
    public void Pictures_are_files_that_need_nothing_else_whatever_names_there_are()
    {
        var plan = SampleRun.Plan with
        {
            Name = Hostile,
            Clients =
            [
                .. SampleRun.Plan.Clients.Select((client, i) => client with { Task = Hostile + (i < 2 ? "" : "c"), Id = Hostile + i }),
            ],
        };
        RoundSummary[] rounds = [.. SampleRun.Rounds().Select(round => Timed(round with
        {
            Manifest = round.Manifest with
            {
                Clients = [.. round.Manifest.Clients.Select(static (client, i) => client with { Id = Hostile + i })],
            },
        }))];

        ReportFiles.Write(_folder, StoreMode.Private, ReportContent.Of(plan, rounds, rounds, "", Facts));

        var files = Directory.GetFiles(Path.Combine(_folder, "plots")).Select(static path => Path.GetFileName(path))
            .Order(StringComparer.Ordinal).ToArray();
        Assert.Equal(
            [
                "agreement.svg", "bytes.svg", "heatmap-score.svg", "heatmap-seconds.svg", "heatmap.svg", "heldout-loss.svg",
                "loss-by-task.svg", "loss.svg", "norms.svg", "score-by-task.svg", "score.svg", "timeline.svg",
            ], files);
        Assert.Equal(Path.Combine(_folder, "plots", "score.svg"), ReportFiles.PictureOf(_folder));
        foreach (var file in files)
        {
            var text = File.ReadAllText(Path.Combine(_folder, "plots", file));
            var document = XDocument.Parse(text);
            Assert.Equal(Svg + "svg", document.Root!.Name);
            Assert.All(document.Descendants(), static element => Assert.Equal(Svg, element.Name.Namespace));
            Assert.NotEqual("", document.Root.Element(Svg + "title")!.Value);
            Assert.NotEqual("", document.Root.Element(Svg + "desc")!.Value);
            Assert.Contains("prefers-color-scheme: dark", document.Root.Element(Svg + "style")!.Value, StringComparison.Ordinal);
            IsAlone(document, text.Replace(Svg.NamespaceName, "", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Of_many_clients_and_rounds_the_cells_are_one_picture_with_a_pixel_for_each()
    {
        var ids = Enumerable.Range(0, 60).Select(static number => $"c{number}").ToList();
        var plan = SampleRun.Plan with { Clients = [.. ids.Select(static id => SampleRun.Plan.Clients[0] with { Id = id })] };
        RoundSummary[] rounds = [.. Enumerable.Range(0, 40).Select(number =>
        {
            var round = SampleRun.Round(number);
            return round with { Manifest = round.Manifest with { Clients = [.. ids.Select((id, i) => SampleRun.Client(id, number, 0.5) with
            {
                Outcome = number > 0 && i == 1 ? ClientOutcome.Failed : number == 0 ? ClientOutcome.NotSelected : ClientOutcome.Trained,
            })] } };
        })];

        var html = HtmlReport.Render(plan, rounds, null, "", Facts);

        var document = XDocument.Parse(html);
        IsAlone(document, html);
        var image = Figure(document, "Clients by round: training loss").Descendants("image").Single().Attribute("href")!.Value;
        const string scheme = "data:image/png;base64,";
        Assert.StartsWith(scheme, image, StringComparison.Ordinal);
        var (width, pixels) = Read(Convert.FromBase64String(image[scheme.Length..]));
        Assert.Equal((40, 60 * 40), (width, pixels.Length));
        Assert.Equal(0, pixels[0]); // nobody trains in round 0
        Assert.Equal(244, pixels[1]); // the highest loss, in round 1
        Assert.Equal(5, pixels[39]); // the lowest
        Assert.All(Enumerable.Range(1, 39), round => Assert.Equal(2, pixels[40 + round])); // the one that failed
        Assert.Contains("data:", document.Descendants("meta").Single(static meta => meta.Attribute("http-equiv") is not null)
            .Attribute("content")!.Value, StringComparison.Ordinal);
    }

    [Fact]
    public void A_number_that_is_none_is_named_with_its_client_and_its_rounds_and_left_out_of_means_that_say_so()
    {
        RoundSummary[] rounds = [.. SampleRun.Rounds().Select(static round => round.Manifest.Round < 2 ? round : round with
        {
            Manifest = round.Manifest with
            {
                Clients =
                [
                    round.Manifest.Clients[0] with { Numbers = round.Manifest.Clients[0].Numbers with { MeanLoss = double.NaN } },
                    .. round.Manifest.Clients.Skip(1),
                ],
            },
        })];

        var html = HtmlReport.Render(SampleRun.Plan, rounds, null, "", Facts);

        var document = XDocument.Parse(html);
        Assert.Contains("meanLoss is NaN: a (rounds 2-3)", document.Descendants("li").Select(static item => item.Value));
        Assert.Equal(2, document.Descendants("td").Count(static cell => cell.Value.EndsWith(" (1 left out)", StringComparison.Ordinal)));
        Assert.Contains("Some clients of the cohort have no number and are left out: rounds 2-3.", html, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN\"", html, StringComparison.Ordinal); // no place of a point
    }

    [Fact]
    public void Times_are_shown_where_they_were_written_down_and_missed_where_they_were_not()
    {
        var timed = XDocument.Parse(HtmlReport.Render(SampleRun.Plan, [.. SampleRun.Rounds().Select(Timed)], null, "", Facts));
        var untimed = XDocument.Parse(HtmlReport.Render(SampleRun.Plan, SampleRun.Rounds(), null, "", Facts));

        Assert.Equal(["train: to the median report of the cohort", "wait: for stragglers, from the median report to the close"],
            Figure(timed, "Seconds of rounds, by part").Descendants("path").Select(static bar => bar.Value));
        var first = timed.Descendants("h2").Single(static heading => heading.Value == "Stragglers").ElementsAfterSelf("div").First()
            .Descendants("tr").ElementAt(1).Elements().Select(static cell => cell.Attribute("title")?.Value ?? cell.Value);
        Assert.Equal(["b", "south", "3", "1.75", "1.75", "1"], first);
        var text = untimed.Root!.Value;
        Assert.Contains("What rounds took their time for was not written down.", text, StringComparison.Ordinal);
        Assert.Contains("Times of clients were not written down.", text, StringComparison.Ordinal);
    }

    private static RoundSummary Timed(RoundSummary round) => round.Manifest.Round == 0 ? round : round with
    {
        Timing = new()
        {
            Attempts = 1, ClosedBy = RoundTiming.ByAll, DecidedBy = round.Manifest.Clients[1].Id,
            Parts = new Dictionary<string, double> { [RoundTiming.Train] = 1.25, [RoundTiming.Wait] = 0.5 },
            ClientSeconds = round.Manifest.Clients.Select(static (client, i) => (client.Id, Seconds: i == 1 ? 1.75 : 1.0))
                .ToDictionary(static one => one.Id, static one => one.Seconds),
        },
    };

    private static XElement Figure(XDocument document, string title) =>
        document.Descendants("figure").Single(figure => figure.Element("h3")!.Value == title);

    private static void IsAlone(XDocument document, string text)
    {
        Assert.DoesNotContain(
            document.Descendants(), static element => element.Name.LocalName is "script" or "img" or "foreignObject" or "a");
        Assert.All(document.Descendants().Attributes(), static one =>
        {
            Assert.False(one.Name.LocalName.StartsWith("on", StringComparison.OrdinalIgnoreCase));
            if (one.Name.LocalName is "href" or "src") Assert.StartsWith("data:image/png;base64,", one.Value, StringComparison.Ordinal);
        });
        foreach (var outside in new[] { "http:", "https:", "url(", "@import" })
            Assert.DoesNotContain(outside, text, StringComparison.Ordinal);
    }

    // Width and indices of an indexed picture.
    private static (int Width, byte[] Pixels) Read(byte[] png)
    {
        var (width, height) = (BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(16)), BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(20)));
        Assert.Equal([8, 3], png[24..26]);
        for (var at = 8; ;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(at));
            if (!png.AsSpan(at + 4, 4).SequenceEqual("IDAT"u8))
            {
                at += 12 + length;
                continue;
            }

            using var zlib = new ZLibStream(new MemoryStream(png, at + 8, length), CompressionMode.Decompress);
            using var rows = new MemoryStream();
            zlib.CopyTo(rows);
            Assert.Equal(height * (width + 1), rows.Length);
            return (width, [.. rows.ToArray().Chunk(width + 1).SelectMany(static row => row[1..])]);
        }
    }
}

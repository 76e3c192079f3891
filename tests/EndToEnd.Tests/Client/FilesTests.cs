using System.Xml.Linq;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;

namespace FedRLora.EndToEnd.Tests.Client;

public sealed class FilesTests : IDisposable
{
    private const string Hostile = "</script><img src=x onerror=alert(1)>&\"'\0\u0007";

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-files-").FullName;

    private static ReportFacts Facts { get; } = new(new DateTimeOffset(2026, 3, 4, 5, 6, 7, TimeSpan.Zero), "0.1.0", Hosts: 1,
        "runs/a-1, round 4");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Metrics_are_one_csv_row_per_round_and_client_and_one_object_per_round()
    {
        MetricsFiles.Write(_folder, StoreMode.Private, SampleRun.Plan, SampleRun.Rounds());

        var csv = File.ReadAllText(Path.Combine(_folder, "metrics.csv")).Split("\r\n");
        Assert.Equal(
            "round,client,task,outcome,weight,samples,steps,mean_loss,metric,score,test_loss,rows,majority_share,"
                + "update_bytes,product_norm,seconds,standard_error,base_score,difference_error,"
                + "gate_layer,gate_head,gate_share,gates_collapsed,client_seconds", csv[0]);
        Assert.Equal("0,a,sst2,scored,,,,,accuracy,0.5,0.75,40,0.5,,,,0.06,,,,,,,", csv[1]);
        Assert.Equal("1,c,trec,trained,0.25,100,20,1.5,accuracy,0.30000000000000004,0.85,40,0.22,2048,0.125,2.08,0.06,,,,,,,", csv[6]);
        Assert.Equal(1 + 4 * 3 + 1, csv.Length);
        Assert.Equal(4, File.ReadAllLines(Path.Combine(_folder, "metrics.jsonl")).Length);
        Assert.Equal(3, Directory.GetFiles(_folder).Length);
    }

    [Fact]
    public void Metrics_by_task_are_means_over_its_clients_with_the_error_at_most()
    {
        var round = SampleRun.Round(1);
        var clients = round.Manifest.Clients.Select(static client => client with
        {
            Score = client.Score! with { Base = new() { Reference = 0.25, StandardError = client.Id == "a" ? 0.125 : 0.375 } },
        });

        var digest = new BlobDigest(new('0', 64), 8);
        ManifestTask[] states =
        [
            new() { Task = "sst2", Round = 1, Version = 1, Shared = digest, Coherence = 0.5 },
            new() { Task = "trec", Round = 0, Version = 0, Shared = digest, Kept = "none of its clients is in the round" },
        ];

        MetricsFiles.Write(_folder, StoreMode.Private, SampleRun.Plan,
            [SampleRun.Round(0), round with { Manifest = round.Manifest with { Clients = [.. clients], Tasks = states } }]);

        var csv = File.ReadAllText(Path.Combine(_folder, "metrics-by-task.csv")).Split("\r\n");
        Assert.Equal("round,task,clients,trained,scored,metric,score,standard_error,base_score,difference_error,"
            + "test_loss,majority_share,mean_loss,update_bytes,coherence,kept,score_left_out,mean_loss_left_out", csv[0]);
        Assert.Equal("0,sst2,2,0,2,accuracy,0.51,0.06,,,0.745,0.5,,0,,,0,0", csv[1]);
        Assert.Equal("1,sst2,2,2,2,accuracy,0.56,0.06,0.25,0.25,0.72,0.5,1.5,4096,0.5,,0,0", csv[3]);
        Assert.StartsWith("1,trec,1,1,1,accuracy,0.3", csv[4], StringComparison.Ordinal);
        Assert.EndsWith(",,none of its clients is in the round,0,0", csv[4], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("a,b", "\"a,b\"")]
    [InlineData("say \"hi\"", "\"say \"\"hi\"\"\"")]
    [InlineData("two\nlines", "\"two\nlines\"")]
    [InlineData(" padded", "\" padded\"")]
    [InlineData("=1+1", "'=1+1")]
    [InlineData("+cmd", "'+cmd")]
    [InlineData("-2", "'-2")]
    [InlineData("@SUM(A1)", "'@SUM(A1)")]
    [InlineData("\uFF1D1", "'\uFF1D1")]
    [InlineData(" =1", "\" '=1\"")]
    [InlineData("\t=1", "\t'=1")]
    [InlineData("a;=1", "a;'=1")]
    [InlineData("a,=1", "\"a,'=1\"")]
    [InlineData("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\"")]
    [InlineData("a = b - c", "a = b - c")]
    public void Csv_fields_are_quoted_where_they_need_it(string task, string expected)
    {
        var plan = SampleRun.Plan with { Clients = [.. SampleRun.Plan.Clients.Select(client => client with { Task = task })] };

        Assert.Contains($"\r\n0,a,{expected},scored,", MetricsText.Csv([RoundView.Of(SampleRun.Round(0), plan)]),
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_number_below_zero_stays_a_number()
    {
        var round = SampleRun.Round(1);
        round = round with
        {
            Manifest = round.Manifest with { Clients = [round.Manifest.Clients[0] with { MeanLoss = -0.5, Score = null }] },
        };

        Assert.Contains("1,a,sst2,trained,0.25,100,20,-0.5,", MetricsText.Csv([RoundView.Of(round, SampleRun.Plan)]),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Numbers_that_are_none_leave_their_field_empty()
    {
        var round = SampleRun.Round(1);
        round = round with
        {
            Manifest = round.Manifest with { Clients = [round.Manifest.Clients[0] with { MeanLoss = double.NaN, Score = null }] },
        };

        Assert.Contains("1,a,sst2,trained,0.25,100,20,,,,,,,2048,0.125,2.08", MetricsText.Csv([RoundView.Of(round, SampleRun.Plan)]),
            StringComparison.Ordinal);
    }

    [Fact]
    public void The_report_is_well_formed_and_needs_nothing_else()
    {
        var path = Path.Combine(_folder, "report.html");
        OutputFile.Replace(
            path, StoreMode.Private,
            HtmlReport.Render(SampleRun.Plan, SampleRun.Rounds(0.1), SampleRun.Rounds(), SampleRun.Yaml, Facts));

        var html = File.ReadAllText(path);
        var document = XDocument.Parse(html);
        Assert.Equal("html", document.Root!.Name.LocalName);
        Assert.DoesNotContain(document.Descendants().Attributes(), static a => a.Name.LocalName is "src" or "href");
        Assert.DoesNotContain("http:", html, StringComparison.Ordinal);
        Assert.DoesNotContain("https:", html, StringComparison.Ordinal);
        var facts = document.Descendants("div").Select(static fact => (fact.Element("dt")?.Value, fact.Element("dd")?.Value)).ToHashSet();
        Assert.Superset(new HashSet<(string?, string?)>
        {
            ("written", "2026-03-04 05:06 UTC"), ("version", "0.1.0"), ("hosts", "1"), ("forked from", "runs/a-1, round 4"),
        }, facts);
        Assert.Equal(5 + 2 + 1, document.Descendants("figure").Count());
        Assert.Equal(4, document.Descendants("figure").First().Descendants("circle")
            .Count(static c => c.Attribute("class")!.Value == "point s0"));
    }

    [Fact]
    public void The_report_has_a_band_over_the_clients_of_a_task_and_each_client_by_itself()
    {
        var document = XDocument.Parse(HtmlReport.Render(SampleRun.Plan, SampleRun.Rounds(), null, SampleRun.Yaml, Facts));

        var scores = Figure("Score (accuracy), by task");
        var band = Assert.Single(scores.Descendants("polygon")); // of sst2; trec has one client
        Assert.Equal(2 * 4, band.Attribute("points")!.Value.Split(' ').Length);
        Assert.Contains("from the lowest to the highest of a task's clients; lines are their means",
            scores.Descendants("li").Select(static item => item.Value));
        Assert.Equal(["a", "b"], Figure("sst2 (accuracy)").Descendants("li").Select(static item => item.Value));
        Assert.Equal(["By task (accuracy)"], document.Descendants("h2").Select(static title => title.Value)
            .Where(static title => title.StartsWith("By task", StringComparison.Ordinal)));

        XElement Figure(string title) => document.Descendants("figure").Single(figure => figure.Element("h3")!.Value == title);
    }

    [Fact]
    public void A_task_of_very_many_clients_shows_as_many_of_them_as_can_be_told_apart()
    {
        var ids = Enumerable.Range(0, 30).Select(static number => $"c{number}").ToList();
        var plan = SampleRun.Plan with { Clients = [.. ids.Select(static id => SampleRun.Plan.Clients[0] with { Id = id })] };
        var round = SampleRun.Round(1);
        round = round with { Manifest = round.Manifest with { Clients = [.. ids.Select(id => SampleRun.Client(id, 1, 0.5))] } };

        var document = XDocument.Parse(HtmlReport.Render(plan, [round], null, "", Facts));

        var figure = document.Descendants("details").First().Descendants("figure").Single();
        Assert.Equal("sst2 (accuracy), the first 24 of 30 clients", figure.Element("h3")!.Value);
        Assert.Equal(24, figure.Descendants("polyline").Count());
    }

    [Fact]
    public void The_report_escapes_hostile_names()
    {
        var plan = SampleRun.Plan with
        {
            Name = Hostile,
            Model = new() { Path = Hostile },
            Clients = [.. SampleRun.Plan.Clients.Select(static client => client with { Task = Hostile })],
        };
        var failed = SampleRun.Round(1);
        failed = failed with { Manifest = failed.Manifest with
        {
            Clients = [failed.Manifest.Clients[0] with { Outcome = ClientOutcome.Failed, Reason = Hostile }],
        } };

        var html = HtmlReport.Render(plan, [SampleRun.Round(0), failed], [SampleRun.Round(0), failed], Hostile, Facts);

        var document = XDocument.Parse(html);
        Assert.Empty(document.Descendants("img"));
        Assert.Empty(document.Descendants("script"));
    }

    /// <summary>Each name that somebody else gives, alone, so that none hides behind another.</summary>
    public static TheoryData<string> Names =>
    [
        "plan", "model", "client", "task", "reason", "score reason", "kept", "label", "layer", "metric", "engine", "digest", "yaml", "fork",
    ];

    [Theory, MemberData(nameof(Names))]
    public void A_name_is_shown_as_text_wherever_it_stands(string name)
    {
        foreach (var hostile in new[] { "<img src=x onerror=alert(1)>", "\"><script>alert(1)</script>", "'><svg/onload=alert(1)>" })
        {
            string Named(string what, string other) => what == name ? hostile : other;
            var plan = SampleRun.Plan with
            {
                Name = Named("plan", "demo"),
                Model = new() { Path = Named("model", "models/tiny") },
                Clients =
                [
                    .. SampleRun.Plan.Clients.Select((client, i) => client with
                    {
                        Id = i == 0 ? Named("client", "a") : client.Id, Task = i < 2 ? Named("task", client.Task) : client.Task,
                    }),
                ],
            };
            RoundSummary Round(int number)
            {
                var round = SampleRun.Round(number);
                return round with
                {
                    ManifestSha256 = Named("digest", round.ManifestSha256),
                    Manifest = round.Manifest with
                    {
                        Engine = Named("engine", "torch"),
                        Tasks = [new()
                        {
                            Task = plan.Clients[0].Task, Round = number, Version = 0, Shared = new("", 0),
                            Kept = Named("kept", "nobody trained"),
                        }],
                        Clients =
                        [
                            .. round.Manifest.Clients.Select((client, i) => client with
                            {
                                Id = plan.Clients[i].Id,
                                Outcome = i == 1 && number > 0 ? ClientOutcome.Failed : client.Outcome,
                                Reason = i == 1 ? Named("reason", "no such file") : null,
                                ScoreReason = i == 1 ? Named("score reason", "no such file") : null,
                                Score = i == 1 ? null : client.Score! with
                                {
                                    Always = Named("label", "yes"), Metric = Named("metric", "accuracy"),
                                },
                                Numbers = client.Numbers with { GateUse = new(Named("layer", "q"), 0, 1, 1, 1) },
                            }),
                        ],
                    },
                };
            }

            var facts = Facts with { ForkedFrom = Named("fork", "runs/a-1") };
            var html = HtmlReport.Render(plan, [Round(0), Round(1), Round(2)], [Round(0), Round(1)], Named("yaml", "name: demo"), facts);

            var document = XDocument.Parse(html);
            Assert.DoesNotContain(document.Descendants(), static element => element.Name.LocalName is "img" or "script");
            Assert.DoesNotContain(
                document.Descendants().Attributes(), static one => one.Name.LocalName.StartsWith("on", StringComparison.OrdinalIgnoreCase));
            if (name != "score reason") Assert.Contains("alert(1)", document.Root!.ToString(), StringComparison.Ordinal); // it is shown
        }
    }

    [Fact]
    public void A_report_of_a_run_without_rounds_or_scores_still_stands()
    {
        XDocument.Parse(HtmlReport.Render(SampleRun.Plan, [], null, "", Facts));
        var bare = SampleRun.Rounds().Select(static round => round with { Manifest = round.Manifest with
        {
            Clients = [.. round.Manifest.Clients.Select(static c => c with { Score = null, Update = null })],
        } });
        XDocument.Parse(HtmlReport.Render(SampleRun.Plan, [.. bare], null, "", Facts));
    }

    [Theory]
    [InlineData(new[] { 0.0, 1.0 }, 0, 1, 0.2)]
    [InlineData(new[] { 0.43, 0.91 }, 0.4, 1, 0.1)]
    [InlineData(new[] { 5.0 }, 4.4, 5.6, 0.2)]
    [InlineData(new[] { 0.0 }, -1, 1, 0.5)]
    [InlineData(new[] { 1e9, 3e9 }, 1e9, 3e9, 5e8)]
    public void An_axis_has_round_ticks(double[] values, double min, double max, double step)
    {
        var axis = Axis.Over(values);

        Assert.Equal(min, axis.Min, 9);
        Assert.Equal(max, axis.Max, 9);
        Assert.Equal(step, axis.Step, 9);
    }
}

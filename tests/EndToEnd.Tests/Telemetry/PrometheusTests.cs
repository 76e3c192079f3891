using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.ControlPlane.Access;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>Debian's Prometheus reads three silos, with a viewer's token, and answers the dashboards and rules that are deployed.</summary>
public sealed partial class PrometheusTests(ITestOutputHelper log) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [PrometheusFact]
    public async Task Prometheus_reads_three_silos_and_answers_every_panel_and_rule_and_promtool_finds_nothing_to_say_of_their_pages()
    {
        using var collector = new Collector();
        var token = Path.Combine(_tiny.Root, "token");
        var ports = FreePorts.Take(4);
        var (silo, gateway) = SiloPorts.Free();
        await using var south = Silo("south", ports[0], "--port", $"{silo}", "--gateway", $"{gateway}");
        await south.UntilAsync(() => south.Output.Contains("serves", StringComparison.Ordinal), "the first silo");
        await using var north = Silo("north", ports[1], "--join", $"{silo}");
        await using var west = Silo("west", ports[2], "--join", $"{silo}");
        await west.UntilAsync(() => north.Output.Contains("serves", StringComparison.Ordinal)
            && west.Output.Contains("serves", StringComparison.Ordinal), "the other silos");
        var config = Path.Combine(_tiny.Root, "prometheus.yml");
        await File.WriteAllTextAsync(config, $$"""
            global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
            rule_files: [{{DeployedTelemetry.Prometheus}}/recording.yml, {{DeployedTelemetry.Prometheus}}/alerts.yml]
            scrape_configs:
              - job_name: fedrlora
                authorization: {credentials_file: {{TokenFiles.ViewerOf(token)}}}
                static_configs: [{targets: ["127.0.0.1:{{ports[0]}}", "127.0.0.1:{{ports[1]}}", "127.0.0.1:{{ports[2]}}"]}]
            """);
        await using var prometheus = new AttendedProgram(_tiny.Root, [], PrometheusFactAttribute.Prometheus!, $"--config.file={config}",
            $"--storage.tsdb.path={Path.Combine(_tiny.Root, "tsdb")}", $"--web.listen-address=127.0.0.1:{ports[3]}",
            "--enable-feature=exemplar-storage");
        using var asked = new HttpClient { BaseAddress = new($"http://127.0.0.1:{ports[3]}") };
        await prometheus.UntilAsync(async () => await ValueAsync("sum(up)") == 3, "three targets that are up");
        using var pages = new HttpClient();
        pages.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", TokenFiles.Read(TokenFiles.ViewerOf(token)));

        var plan = Federation.TinyPlan.Write(_tiny, 200, string.Join('\n', new[] { "south", "north", "west" }
            .Select(static site => Federation.TinyPlan.Client($"{site}-1", "one", site))));
        await Submitting.SubmitAsync(ports[0], token, plan);
        await prometheus.UntilAsync(async () => await ValueAsync("sum(fedrlora_rounds_total{run=\"tiny\"})") >= 4, "four committed rounds");
        await Submitting.PostAsync(ports[0], token, "pause"); // a run that is held has all of its series
        await prometheus.UntilAsync(async () => await ValueAsync("max(fedrlora_run_phase{phase=\"paused\"})") == 1, "the run's pause");
        await AnswersAsync(asked);
        await Submitting.PostAsync(ports[0], token, "cancel");
        await prometheus.UntilAsync(async () => await ValueAsync("count(fedrlora_run_open_round)") is null, "the end of the run's gauges");

        Assert.Equal(3, await ValueAsync("count(count by (silo) (fedrlora_silo_memory_bytes))"));
        Assert.Equal(3, await ValueAsync("count(count by (site) (fedrlora_training_steps_total{run=\"tiny\"}))"));
        Assert.Equal(0, await ValueAsync("sum(fedrlora_client_reports_total{outcome=\"failed\"})"));
        var series = await asked.GetStringAsync("/api/v1/series?match[]={__name__=~\"fedrlora_.%2B\"}");
        Assert.DoesNotContain("exported_", series, StringComparison.Ordinal);
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var exemplars = await asked.GetStringAsync(FormattableString.Invariant(
            $"/api/v1/query_exemplars?query=fedrlora_round_duration_seconds_bucket&start={now - 600}&end={now + 60}"));
        Assert.Matches("\"trace_id\":\"[0-9a-f]{32}\"", exemplars);
        foreach (var port in ports.Take(3)) await CheckAsync(await pages.GetStringAsync($"http://127.0.0.1:{port}/metrics"));

        RunningProgram Silo(string site, int control, params string[] more) => RunningProgram.StartWith(
            [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            _tiny.Root, ["silo", "--site", site, "--store", "store", "--control", $"{control}", "--control-token", token,
                "--client-metrics", "100", .. more]);

        async Task<double?> ValueAsync(string query)
        {
            using var answer = JsonDocument.Parse(await asked.GetStringAsync($"/api/v1/query?query={Uri.EscapeDataString(query)}"));
            var results = answer.RootElement.GetProperty("data").GetProperty("result");
            return results.GetArrayLength() == 0 ? null
                : double.Parse(results[0].GetProperty("value")[1].GetString()!, CultureInfo.InvariantCulture);
        }
    }

    // Of every panel and every rule, over the run so far.
    private static async Task AnswersAsync(HttpClient prometheus)
    {
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        foreach (var (panel, query) in DeployedTelemetry.Dashboards.SelectMany(DeployedTelemetry.Queries))
        {
            var filled = Uri.EscapeDataString(DeployedTelemetry.Filled(query, "tiny"));
            var series = await ResultAsync(FormattableString.Invariant(
                $"/api/v1/query_range?query={filled}&start={now - 60}&end={now + 1}&step=0.5"));
            Assert.True(series.GetProperty("result").GetArrayLength() > 0, $"{panel}: no series for {query}");
        }

        JsonElement[] rules = [.. (await ResultAsync("/api/v1/rules")).GetProperty("groups").EnumerateArray()
            .SelectMany(static group => group.GetProperty("rules").EnumerateArray())];
        Assert.True(rules.Length > 15);
        foreach (var rule in rules)
        {
            Assert.Equal("ok", rule.GetProperty("health").GetString());
            foreach (var metric in DeployedTelemetry.Metrics(rule.GetProperty("query").GetString()!))
            {
                var found = await ResultAsync($"/api/v1/query?query={Uri.EscapeDataString($"count({metric})")}");
                Assert.True(found.GetProperty("result").GetArrayLength() == 1, $"no series is called {metric}");
            }
        }

        async Task<JsonElement> ResultAsync(string path)
        {
            using var answer = await prometheus.GetAsync(path);
            var text = await answer.Content.ReadAsStringAsync();
            Assert.True(answer.IsSuccessStatusCode, $"{path}: {text}");
            return JsonDocument.Parse(text).RootElement.GetProperty("data");
        }
    }

    private async Task CheckAsync(string page)
    {
        using var promtool = Process.Start(new ProcessStartInfo(PrometheusFactAttribute.Promtool!, ["check", "metrics"])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        await promtool.StandardInput.WriteAsync(page);
        promtool.StandardInput.Close();
        var said = await promtool.StandardOutput.ReadToEndAsync() + await promtool.StandardError.ReadToEndAsync();
        await promtool.WaitForExitAsync();
        Assert.Equal((0, ""), (promtool.ExitCode, said));
        Assert.DoesNotMatch(OwnLabel(), page);
        var medians = 0;
        foreach (var series in Bucket().Matches(page).GroupBy(static line => (line.Groups["name"].Value, line.Groups["labels"].Value)))
        {
            var counts = series.Select(static line => long.Parse(line.Groups["count"].Value, CultureInfo.InvariantCulture)).ToArray();
            Assert.True(counts[0] * 2 <= counts[^1], $"no bucket of {series.Key} is below its median: {string.Join(' ', counts)}");
            Assert.True(counts[^2] * 2 >= counts[^1], $"the median of {series.Key} is beyond its buckets: {string.Join(' ', counts)}");
            medians++;
        }

        log.WriteLine($"{page.Length} letters, {medians} histograms");
        Assert.True(medians > 5);
    }

    [GeneratedRegex("[{,](job|instance|exported_[a-z]+)=")]
    private static partial Regex OwnLabel();

    [GeneratedRegex("^(?<name>[a-z_]+)_bucket{(?<labels>.*),le=\"[^\"]+\"} (?<count>\\d+)$", RegexOptions.Multiline)]
    private static partial Regex Bucket();
}

/// <summary>Skipped where Prometheus is not installed.</summary>
internal sealed class PrometheusFactAttribute : FactAttribute
{
    public PrometheusFactAttribute()
    {
        if (Prometheus is null || Promtool is null) Skip = "prometheus with promtool is not installed (apt-get install prometheus)";
    }

    public static string? Prometheus { get; } = AttendedProgram.Find("prometheus");

    public static string? Promtool { get; } = AttendedProgram.Find("promtool");
}

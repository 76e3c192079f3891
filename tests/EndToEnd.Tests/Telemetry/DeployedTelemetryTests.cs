using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>Rules, dashboards and the collector's configuration: what of them can be seen without a silo.</summary>
public sealed partial class DeployedTelemetryTests
{
    [PrometheusFact]
    public async Task The_rules_do_what_their_tests_say()
    {
        Assert.Equal((0, ""), await PromtoolAsync("check", "rules", "recording.yml", "alerts.yml"));
        Assert.Equal((0, ""), await PromtoolAsync("test", "rules", "tests.yml"));
    }

    [Fact]
    public void Every_rule_has_a_test_and_every_alert_says_what_to_do()
    {
        var tests = File.ReadAllText(Path.Combine(DeployedTelemetry.Prometheus, "tests.yml"));
        var alerts = File.ReadAllText(Path.Combine(DeployedTelemetry.Prometheus, "alerts.yml"));
        var recording = File.ReadAllText(Path.Combine(DeployedTelemetry.Prometheus, "recording.yml"));

        string[] names = [.. Alert().Matches(alerts).Select(static match => match.Groups[1].Value)];
        Assert.True(names.Length >= 8);
        foreach (var name in names)
        {
            Assert.Contains($"alertname: {name}, exp_alerts: []", tests, StringComparison.Ordinal); // does not fire
            Assert.Matches($"alertname: {name}\\s+exp_alerts:\\s+- exp_labels", tests); // fires
        }

        foreach (var rule in alerts.Split("- alert: ")[1..])
        {
            Assert.Matches("labels: {severity: (info|warning|critical)}", rule);
            Assert.Contains("summary: ", rule, StringComparison.Ordinal);
            Assert.Contains("description: ", rule, StringComparison.Ordinal);
        }

        Assert.All(Record().Matches(recording).Select(static match => match.Groups[1].Value),
            name => Assert.Contains($"expr: {name}", tests, StringComparison.Ordinal));
    }

    [Theory, InlineData("fedrlora-run.json"), InlineData("fedrlora-silos.json")]
    public void A_dashboard_has_panels_that_do_not_clash_and_asks_one_source_that_its_reader_chooses(string name)
    {
        var dashboard = DeployedTelemetry.Dashboard(name);
        JsonElement[] panels = [.. dashboard.GetProperty("panels").EnumerateArray()];

        Assert.Equal(Path.GetFileNameWithoutExtension(name), dashboard.GetProperty("uid").GetString());
        Assert.False(dashboard.TryGetProperty("id", out _)); // Grafana gives one
        Assert.Equal(panels.Length, panels.Select(static panel => panel.GetProperty("id").GetInt32()).Distinct().Count());
        var places = panels.Select(static panel => panel.GetProperty("gridPos")).Select(static place => (
            X: place.GetProperty("x").GetInt32(), Y: place.GetProperty("y").GetInt32(),
            W: place.GetProperty("w").GetInt32(), H: place.GetProperty("h").GetInt32())).ToArray();
        var covered = places.SelectMany(static place => from x in Enumerable.Range(place.X, place.W)
                                                        from y in Enumerable.Range(place.Y, place.H)
                                                        select (x, y)).ToList();
        Assert.Equal(covered.Count, covered.Distinct().Count());
        Assert.All(covered, static cell => Assert.InRange(cell.x, 0, 23));
        foreach (var panel in panels.Where(static panel => panel.GetProperty("type").GetString() != "row"))
        {
            JsonElement[] targets = [.. panel.GetProperty("targets").EnumerateArray()];
            Assert.Equal(targets.Length, targets.Select(static target => target.GetProperty("refId").GetString()).Distinct().Count());
            Assert.All(targets.Append(panel),
                static asks => Assert.Equal("${datasource}", asks.GetProperty("datasource").GetProperty("uid").GetString()));
        }

        var variables = dashboard.GetProperty("templating").GetProperty("list").EnumerateArray()
            .Select(static variable => variable.GetProperty("name").GetString()).ToHashSet();
        Assert.All(
            DeployedTelemetry.Queries(name).SelectMany(static asked => Variable().Matches(asked.Query))
                .Select(static one => one.Groups[1].Value),
            used => Assert.True(used == "__rate_interval" || variables.Contains(used), used));
    }

    /// <summary>Component by component, the keys that its documentation has.</summary>
    private static readonly Dictionary<string, string[]> Documented = new(StringComparer.Ordinal)
    {
        ["extensions.health_check"] = ["endpoint"],
        ["receivers.otlp"] = ["protocols"],
        ["receivers.otlp.protocols"] = ["grpc", "http"],
        ["receivers.otlp.protocols.grpc"] = ["endpoint", "max_recv_msg_size_mib", "tls"],
        ["receivers.otlp.protocols.http"] = ["endpoint", "cors", "tls"],
        ["processors.memory_limiter"] =
            ["check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage"],
        ["processors.transform/silo"] = ["error_mode", "metric_statements", "trace_statements", "log_statements"],
        ["processors.batch"] = ["send_batch_size", "send_batch_max_size", "timeout"],
        ["exporters.prometheus"] =
        [
            "endpoint", "namespace", "const_labels", "send_timestamps", "metric_expiration", "add_metric_suffixes",
            "enable_open_metrics", "resource_to_telemetry_conversion",
        ],
        ["exporters.otlphttp"] = ["endpoint", "headers", "tls", "compression", "timeout", "retry_on_failure", "sending_queue"],
        ["exporters.otlphttp.retry_on_failure"] = ["enabled", "initial_interval", "max_interval", "max_elapsed_time"],
        ["exporters.otlphttp.sending_queue"] = ["enabled", "num_consumers", "queue_size", "storage"],
        ["service"] = ["extensions", "pipelines", "telemetry"],
        ["service.pipelines.metrics"] = ["receivers", "processors", "exporters"],
        ["service.pipelines.traces"] = ["receivers", "processors", "exporters"],
        ["service.pipelines.logs"] = ["receivers", "processors", "exporters"],
    };

    [Fact]
    public void The_collectors_configuration_has_keys_that_are_documented_and_pipelines_of_what_it_configures()
    {
        var (keys, lists) = Read(Repository.Read("deploy", "telemetry", "collector", "collector.yaml"));

        foreach (var (parent, key) in keys)
        {
            if (Documented.TryGetValue(parent, out var known)) Assert.Contains(key, known);
            else if (parent is not ("" or "extensions" or "receivers" or "processors" or "exporters" or "service.pipelines"))
                Assert.StartsWith("processors.transform/silo.metric_statements", parent, StringComparison.Ordinal);
        }

        foreach (var (parent, kind, used) in lists)
        {
            Assert.All(used, name => Assert.Contains((kind, name), keys)); // configured
            if (kind == "processors") Assert.Equal("memory_limiter", used[0]);
            if (kind == "processors") Assert.Equal("batch", used[^1]);
            Assert.StartsWith("service", parent, StringComparison.Ordinal);
        }

        foreach (var kind in new[] { "receivers", "processors", "exporters", "extensions" }) // nothing is configured in vain
        {
            Assert.Equal(keys.Where(key => key.Parent == kind).Select(static key => key.Key).Order(StringComparer.Ordinal),
                lists.Where(list => list.Key == kind).SelectMany(static list => list.Values).Distinct().Order(StringComparer.Ordinal));
        }
    }

    // Mappings by indentation and lists in one line, which is what the file has.
    private static (List<(string Parent, string Key)> Keys, List<(string Parent, string Key, string[] Values)> Lists) Read(string yaml)
    {
        var (keys, lists) = (new List<(string, string)>(), new List<(string, string, string[])>());
        var open = new List<(int Indent, string Key)>();
        foreach (var line in yaml.Split('\n'))
        {
            if (Entry().Match(line) is not { Success: true } entry) continue;
            var indent = entry.Groups["indent"].Length;
            open.RemoveAll(above => above.Indent >= indent);
            var (parent, key) = (string.Join('.', open.Select(static above => above.Key)), entry.Groups["key"].Value);
            keys.Add((parent, key));
            if (entry.Groups["list"] is { Success: true } list) lists.Add((parent, key, list.Value.Split(", ")));
            open.Add((indent, key));
        }

        return (keys, lists);
    }

    // What it has to say where it is not content; nothing otherwise.
    private static async Task<(int Code, string Said)> PromtoolAsync(params string[] arguments)
    {
        using var promtool = Process.Start(new ProcessStartInfo(PrometheusFactAttribute.Promtool!, arguments)
        {
            RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = DeployedTelemetry.Prometheus,
        })!;
        var (output, error) = (promtool.StandardOutput.ReadToEndAsync(), promtool.StandardError.ReadToEndAsync());
        await promtool.WaitForExitAsync();
        return (promtool.ExitCode, promtool.ExitCode == 0 ? "" : await output + await error);
    }

    [GeneratedRegex("- alert: (\\w+)")]
    private static partial Regex Alert();

    [GeneratedRegex("- record: (\\S+)")]
    private static partial Regex Record();

    [GeneratedRegex("\\$(\\w+)")]
    private static partial Regex Variable();

    [GeneratedRegex("^(?<indent> *)(?:- )?(?<key>[a-z_/]+):(?: \\[(?<list>[^\\]]+)\\])?")]
    private static partial Regex Entry();
}

using System.Text.Json;
using System.Text.RegularExpressions;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>What is in <c>deploy/telemetry</c>, as tests ask of it.</summary>
internal static partial class DeployedTelemetry
{
    /// <summary>The folder of Prometheus' files.</summary>
    public static string Prometheus { get; } = Path.Combine(Repository.Root, "deploy", "telemetry", "prometheus");

    /// <summary>The dashboards, by the names of their files.</summary>
    public static IReadOnlyList<string> Dashboards { get; } = ["fedrlora-run.json", "fedrlora-silos.json"];

    /// <summary>A dashboard's file, read.</summary>
    public static JsonElement Dashboard(string name) =>
        JsonDocument.Parse(Repository.Read("deploy", "telemetry", "grafana", name)).RootElement;

    /// <summary>Panels that ask for something, with the title and the query of each.</summary>
    public static IEnumerable<(string Panel, string Query)> Queries(string name) =>
        from panel in Dashboard(name).GetProperty("panels").EnumerateArray()
        where panel.GetProperty("type").GetString() != "row"
        from target in panel.GetProperty("targets").EnumerateArray()
        select (panel.GetProperty("title").GetString()!, target.GetProperty("expr").GetString()!);

    /// <summary>A query with the variables of a dashboard filled in.</summary>
    public static string Filled(string query, string run) => query.Replace("$run", run, StringComparison.Ordinal)
        .Replace("$silo", ".*", StringComparison.Ordinal).Replace("$__rate_interval", "4s", StringComparison.Ordinal);

    /// <summary>Names of series in an expression that silos and Prometheus make; no recorded ones.</summary>
    public static IEnumerable<string> Metrics(string expression) =>
        Name().Matches(expression).Select(static match => match.Value).Distinct();

    [GeneratedRegex("(?<![:\\w])(fedrlora_[a-z_]+|target_info|up)(?![:\\w])")]
    private static partial Regex Name();
}

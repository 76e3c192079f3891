using System.Text.Json;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>The Aspire dashboard, from its NuGet package, takes what a run sends by OTLP and shows it.</summary>
public sealed class AspireDashboardTests(ITestOutputHelper log) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [AspireFact]
    public async Task The_dashboard_has_the_tree_of_a_round_and_its_log_line_with_the_same_trace()
    {
        var ports = FreePorts.Take(3);
        var program = Path.Combine(AspireFactAttribute.Folder!, AspireFactAttribute.Program);
        File.SetUnixFileMode(program, File.GetUnixFileMode(program) | UnixFileMode.UserExecute); // which packages do not say
        string Address(int which) => $"http://127.0.0.1:{ports[which]}";
        await using var dashboard = new AttendedProgram(_tiny.Root,
            [
                ("ASPNETCORE_URLS", Address(0)), ("ASPIRE_DASHBOARD_OTLP_ENDPOINT_URL", Address(1)),
                ("ASPIRE_DASHBOARD_OTLP_HTTP_ENDPOINT_URL", Address(2)), ("DASHBOARD__FRONTEND__AUTHMODE", "Unsecured"),
                ("DASHBOARD__OTLP__AUTHMODE", "ApiKey"), ("DASHBOARD__OTLP__PRIMARYAPIKEY", "otlp-key"),
                ("DASHBOARD__API__ENABLED", "true"), ("DASHBOARD__API__AUTHMODE", "Unsecured"), ("HOME", _tiny.Root),
                ("DOTNET_CONTENTROOT", AspireFactAttribute.Folder!),
            ],
            program);
        using var shown = new HttpClient { BaseAddress = new(Address(0)) };
        await dashboard.UntilAsync(async () => (await shown.GetStringAsync("api/telemetry/resources")).Length > 0, "the dashboard");

        await using var run = RunningProgram.StartWith(
            [("OTEL_EXPORTER_OTLP_ENDPOINT", Address(1)), ("OTEL_EXPORTER_OTLP_HEADERS", "x-otlp-api-key=otlp-key")],
            _tiny.Root, "simulate", _tiny.WritePlan(), "--out", "run", "--no-local-only");
        Assert.True(await run.ExitAsync() == 0, run.Output);
        Assert.DoesNotContain("Telemetry", run.Output, StringComparison.Ordinal);

        await dashboard.UntilAsync(async () => (await RecordsAsync("logs", "resourceLogs", "scopeLogs", "logRecords"))
            .Any(static line => line.ToString().Contains("finished as", StringComparison.Ordinal)), "the last log line");
        var spans = await RecordsAsync("spans", "resourceSpans", "scopeSpans", "spans");
        var logs = await RecordsAsync("logs", "resourceLogs", "scopeLogs", "logRecords");
        var round = Assert.Single(spans, static span => Name(span) == "fedrlora.round" && Attribute(span, "round") == "2");
        var names = spans.Where(span => Text(span, "parentSpanId") == Text(round, "spanId"))
            .Select(Name).Order(StringComparer.Ordinal).ToArray();
        log.WriteLine($"{spans.Count} spans, {logs.Count} log records; below a round: {string.Join(' ', names)}");
        Assert.Equal(["fedrlora.aggregate", "fedrlora.commit", "fedrlora.confirm", "fedrlora.evaluate", "fedrlora.select", "fedrlora.send",
            "fedrlora.site"], names.Distinct());
        Assert.Equal(["one", "two"], spans.Where(span => Name(span) == "fedrlora.client" && Text(span, "traceId") == Text(round, "traceId"))
            .Select(static span => Attribute(span, "client")).Distinct().Order());
        var line = Assert.Single(logs, static line => line.ToString().Contains("round 2 committed", StringComparison.Ordinal));
        Assert.Equal(Text(round, "traceId"), Text(line, "traceId"));
        Assert.Equal(("tiny", "2"), (Attribute(line, "run"), Attribute(line, "round")));

        async Task<IReadOnlyList<JsonElement>> RecordsAsync(string what, string resources, string scopes, string records)
        {
            using var answer = JsonDocument.Parse(await shown.GetStringAsync($"api/telemetry/{what}?limit=5000"));
            return [.. from resource in answer.RootElement.GetProperty("data").GetProperty(resources).EnumerateArray()
                from scope in resource.GetProperty(scopes).EnumerateArray()
                from record in scope.GetProperty(records).EnumerateArray()
                select record.Clone()];
        }
    }

    private static string Name(JsonElement span) => span.GetProperty("name").GetString()!;

    private static string? Text(JsonElement record, string name) => record.TryGetProperty(name, out var value) ? value.GetString() : null;

    private static string? Attribute(JsonElement record, string name) => record.GetProperty("attributes").EnumerateArray()
        .Where(pair => pair.GetProperty("key").GetString() == name)
        .Select(static pair => pair.GetProperty("value").GetProperty("stringValue").GetString()).FirstOrDefault();
}

/// <summary>Skipped where the package of the dashboard was not restored.</summary>
internal sealed class AspireFactAttribute : FactAttribute
{
    public const string Program = "Aspire.Dashboard";

    public AspireFactAttribute()
    {
        if (Folder is null) Skip = "the package Aspire.Dashboard.Sdk.linux-x64 is not restored: dotnet restore tests/aspire";
    }

    /// <summary>Where the program is.</summary>
    public static string? Folder { get; } = Versions().Order(StringComparer.Ordinal)
        .Select(static version => Path.Combine(version, "tools")).LastOrDefault(static tools => File.Exists(Path.Combine(tools, Program)));

    private static string[] Versions()
    {
        var packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(
            Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var package = Path.Combine(packages, "aspire.dashboard.sdk.linux-x64");
        return Directory.Exists(package) ? Directory.GetDirectories(package) : [];
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>A collector that is away, or hangs, delays nothing; what comes late comes once.</summary>
public sealed partial class AbsentCollectorTests(ITestOutputHelper log) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("http/protobuf")]
    [InlineData("grpc")]
    public async Task A_silo_waits_for_no_answer_of_a_collector_that_hangs_and_says_what_is_lost(string protocol)
    {
        using var collector = new HangingCollector();
        var (without, _) = await EndAsync([], static () => true);

        var (with, output) = await EndAsync(
            [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_BLRP_SCHEDULE_DELAY", "50"), ("OTEL_METRIC_EXPORT_INTERVAL", "100")],
            () => collector.Taken > 0);

        log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{with.TotalSeconds:F2} s, without it {without.TotalSeconds:F2} s"));
        // a collector may think for ten seconds, of each signal; on a busy machine the second that the silo gives it is longer
        Assert.True(with < TimeSpan.FromSeconds(8) + without, $"it took {with}, without a collector {without}:\n{output}");
        Assert.Matches(LostLine(), output);
    }

    private async Task<(TimeSpan Took, string Output)> EndAsync((string, string)[] variables, Func<bool> isReady)
    {
        var (port, gateway) = SiloPorts.Free();
        await using var silo = RunningProgram.StartWith(variables, _tiny.Root, "silo", "--site", "local", "--port", $"{port}", "--gateway",
            $"{gateway}", "--store", "store", "--control", $"{FreePorts.Take(1)[0]}");
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal) && isReady(),
            "the silo and its first request");
        var asked = Stopwatch.GetTimestamp();
        silo.Terminate();
        await silo.ExitAsync();
        return (Stopwatch.GetElapsedTime(asked), silo.Output);
    }

    [Fact]
    public async Task What_a_collector_missed_while_it_was_away_comes_when_it_is_there_and_once()
    {
        var ports = FreePorts.Take(2);
        var token = Path.Combine(_tiny.Root, "token");
        var (siloPort, gateway) = SiloPorts.Free();
        await using var silo = RunningProgram.StartWith(
            [("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://127.0.0.1:{ports[0]}"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_BSP_SCHEDULE_DELAY", "100"), ("OTEL_METRICS_EXPORTER", "none")],
            _tiny.Root, "silo", "--site", "*", "--port", $"{siloPort}", "--gateway", $"{gateway}", "--store", "store", "--control",
            $"{ports[1]}", "--control-token", token);
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the silo");
        await Submitting.SubmitAsync(ports[1], token, _tiny.WritePlan());
        await silo.UntilAsync(() => silo.Output.Contains("Job tiny finished", StringComparison.Ordinal)
            && silo.Output.Contains("Telemetry waits", StringComparison.Ordinal), "the end of the run");

        using var collector = new Collector(ports[0]);
        silo.Terminate(); // which sends what is left
        await silo.ExitAsync();

        var spans = string.Concat(collector.Posts.Where(static post => post.Path == "/v1/traces").Select(static post => post.Body));
        Assert.Equal(3, RoundSpan().Count(spans)); // the start and two rounds
        Assert.DoesNotContain("Telemetry is lost", silo.Output, StringComparison.Ordinal);
    }

    [GeneratedRegex(@"Telemetry is lost, and the work goes on without it: http://127\.0\.0\.1:\d+/\S+: .*: [1-9]\d* log records in all")]
    private static partial Regex LostLine();

    [GeneratedRegex(@"\x0efedrlora\.round")] // the length of a name is before it
    private static partial Regex RoundSpan();
}

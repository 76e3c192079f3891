using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.EndToEnd.Tests.Telemetry;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>
/// OpenTelemetry's variables: each has the effect that it asks for, or is named; and telemetry that does not arrive is named.
/// </summary>
public sealed class TelemetryTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://localhost:4317",
        "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL", "grpcc", "is no protocol; give grpc or http/protobuf")]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "is no protocol; give grpc or http/protobuf")]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is no time; give milliseconds, as 10000")]
    [InlineData("OTEL_METRIC_EXPORT_INTERVAL", "1e3", "is no time; give milliseconds, as 10000")]
    [InlineData("OTEL_BSP_SCHEDULE_DELAY", "-1", "is no time; give milliseconds, as 10000")]
    [InlineData("OTEL_BSP_MAX_QUEUE_SIZE", "0", "is no number of things; give a whole number above 0")]
    [InlineData("OTEL_RESOURCE_ATTRIBUTES", "region=north,team", "is no list of key=value pairs with commas between them")]
    [InlineData("OTEL_TRACES_SAMPLER", "sometimes", "is no sampler; give always_on, always_off, traceidratio, parentbased_always_on, "
        + "parentbased_always_off or parentbased_traceidratio")]
    [InlineData("OTEL_TRACES_SAMPLER_ARG", "0,5", "is no share; give a number from 0 to 1")]
    [InlineData("OTEL_SDK_DISABLED", "1", "is no choice; give true or false")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "is no compression; give gzip or none")]
    [InlineData("OTEL_EXPORTER_OTLP_CERTIFICATE", "missing.pem", "is no certificate that can be read; give a file in PEM form")]
    [InlineData("OTEL_TRACES_EXPORTER", "zipkin", "is not what this program exports by; give otlp or none")]
    [InlineData("OTEL_LOGS_EXPORTER", "console", "is not what this program exports by; give otlp or none")]
    [InlineData("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "localhost:4318", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_BLRP_SCHEDULE_DELAY", "1s", "is no time; give milliseconds, as 10000")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram",
        "is no aggregation of this program, whose histograms have stated buckets; give explicit_bucket_histogram")]
    public async Task A_variable_with_which_nothing_would_be_sent_is_refused_before_the_first_round(
        string variable, string value, string expected)
    {
        var run = Path.Combine(_tiny.Root, "run");
        await using var program = RunningProgram.StartWith((variable, value), _tiny.Root, "simulate", _tiny.WritePlan(), "--out", run);

        Assert.Equal(2, await program.ExitAsync());
        Assert.Contains($"{variable}: '{value}' {expected}{Environment.NewLine}", program.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("round ", program.Output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(run)); // free for another try
    }

    [Fact]
    public async Task A_silo_refuses_such_a_variable_too()
    {
        await using var program = RunningProgram.StartWith(("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), _tiny.Root,
            ["silo", "--site", "local", .. new SiloPlace().Own]);

        Assert.Equal(2, await program.ExitAsync());
        Assert.Contains("OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' is no address", program.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_headers_carry_is_not_shown()
    {
        await using var program = RunningProgram.StartWith(("OTEL_EXPORTER_OTLP_HEADERS", "secret"), _tiny.Root, "simulate",
            _tiny.WritePlan());

        Assert.Equal(2, await program.ExitAsync());
        Assert.Contains("OTEL_EXPORTER_OTLP_HEADERS: the value is no list of key=value pairs with commas between them", program.Output,
            StringComparison.Ordinal);
        Assert.DoesNotContain("secret", program.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "", "/v1/logs /v1/metrics /v1/traces")]
    [InlineData("TRACES_", "/here", "/here")] // nothing goes to a collector that nobody named
    [InlineData("METRICS_", "/there", "/there")]
    [InlineData("LOGS_", "/lines", "/lines")]
    public async Task Each_signal_goes_where_its_variables_send_it(string signal, string path, string expected)
    {
        using var collector = new Collector();

        var output = await SimulateAsync(($"OTEL_EXPORTER_OTLP_{signal}ENDPOINT", collector.Address + path),
            ($"OTEL_EXPORTER_OTLP_{signal}PROTOCOL", "http/protobuf"), ("OTEL_SERVICE_NAME", "the-north"),
            ("OTEL_RESOURCE_ATTRIBUTES", "region=polar"));

        Assert.Equal(expected, string.Join(' ', collector.Posts.Select(static post => post.Path).Distinct().Order(StringComparer.Ordinal)));
        Assert.All(collector.Posts, static post => Assert.Contains("the-north", post.Body, StringComparison.Ordinal));
        Assert.All(collector.Posts, static post => Assert.Contains("polar", post.Body, StringComparison.Ordinal));
        Assert.DoesNotContain("Telemetry", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("OTEL_SDK_DISABLED", "true", "")]
    [InlineData("OTEL_TRACES_EXPORTER", "none", "/v1/logs /v1/metrics")]
    [InlineData("OTEL_LOGS_EXPORTER", "none", "/v1/metrics /v1/traces")]
    [InlineData("OTEL_TRACES_SAMPLER", "always_off", "/v1/logs /v1/metrics")]
    public async Task A_signal_that_is_switched_off_is_not_sent(string variable, string value, string expected)
    {
        using var collector = new Collector();

        await SimulateAsync(("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            (variable, value));

        Assert.Equal(expected, string.Join(' ', collector.Posts.Select(static post => post.Path).Distinct().Order(StringComparer.Ordinal)));
    }

    [Theory]
    [InlineData("http/protobuf", 500, "/v1/traces: Response status code does not indicate success: 500 (Internal Server Error).")]
    [InlineData("http/protobuf", null, "/v1/traces: Connection refused (127.0.0.1:")]
    [InlineData("grpc", null, "/opentelemetry.proto.collector.trace.v1.TraceService/Export: Connection refused (127.0.0.1:")]
    public async Task Telemetry_that_is_lost_is_named_once_and_ends_no_run(string protocol, int? status, string reason)
    {
        var collector = new Collector { Status = status ?? 200 };
        if (status is null) collector.Dispose(); // nobody listens any more

        var output = await SimulateAsync(("OTEL_EXPORTER_OTLP_ENDPOINT", collector.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"));

        Assert.Single(output.Split("Telemetry is lost, and the work goes on without it: " + collector.Address + reason)[1..]);
        collector.Dispose();
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "5000", "OTEL_EXPORTER_OTLP_TIMEOUT: nothing is sent without OTEL_EXPORTER_OTLP_ENDPOINT")]
    [InlineData("OTEL_LOG_LEVEL", "debug", null)] // another program's, where nothing is sent
    public async Task A_variable_without_effect_is_named_and_ends_no_run(string variable, string value, string? line)
    {
        var output = await SimulateAsync((variable, value));

        if (line is null) Assert.DoesNotContain(variable, output, StringComparison.Ordinal);
        else Assert.Contains(line, output, StringComparison.Ordinal);
    }

    private async Task<string> SimulateAsync(params (string Name, string Value)[] environment)
    {
        await using var program = RunningProgram.StartWith(environment, _tiny.Root, "simulate", _tiny.WritePlan(), "--out", "run");
        Assert.True(await program.ExitAsync() == 0, program.Output);
        return program.Output;
    }
}

using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Variables of OpenTelemetry that the exporter would pass over in silence.</summary>
public sealed class TelemetryTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://localhost:4317", "is no address; write it with its scheme, as http://localhost:4317")]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL", "grpcc", "is no protocol; give grpc or http/protobuf")]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "is no protocol; give grpc or http/protobuf")]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is no time; give milliseconds, as 10000")]
    public async Task A_variable_with_which_nothing_would_be_sent_is_refused_before_the_first_round(string variable, string value, string expected)
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
        var ports = FreePorts.Take(2);
        await using var program = RunningProgram.StartWith(("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), _tiny.Root, "silo", "--site", "local", "--port", $"{ports[0]}", "--gateway", $"{ports[1]}");

        Assert.Equal(2, await program.ExitAsync());
        Assert.Contains("OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' is no address", program.Output, StringComparison.Ordinal);
    }
}

using System.Globalization;
using FedRLora.Abstractions;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace FedRLora.Silo;

internal static class TelemetryBuilderExtensions
{
    private const string Prefix = "OTEL_EXPORTER_OTLP_";
    private static readonly string[] Signals = ["", "METRICS_", "TRACES_"];
    private static readonly string[] Protocols = ["grpc", "http/protobuf"];

    /// <summary>OTLP export of our meter and activities, and Orleans' own, when OTEL_EXPORTER_OTLP_ENDPOINT (or its metrics or traces form) is set.</summary>
    /// <exception cref="BadInputException">A variable has a value that the exporter would pass over, and send nothing.</exception>
    public static void AddTelemetry(this IHostApplicationBuilder builder, string siloName)
    {
        foreach (var signal in Signals)
        {
            Require(signal + "ENDPOINT", IsAddress, "is no address; write it with its scheme, as http://localhost:4317");
            Require(signal + "PROTOCOL", static value => Protocols.Contains(value, StringComparer.Ordinal),
                $"is no protocol; give {string.Join(" or ", Protocols)}");
            Require(signal + "TIMEOUT", static value => int.TryParse(value, CultureInfo.InvariantCulture, out var time) && time > 0,
                "is no time; give milliseconds, as 10000");
        }

        if (!Signals.Any(static signal => Value(signal + "ENDPOINT") is not null)) return;
        builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("fedrlora", serviceInstanceId: siloName))
            .WithMetrics(static metrics => metrics.AddMeter(Telemetry.Name, "Microsoft.Orleans").AddOtlpExporter())
            .WithTracing(static traces => traces.AddSource(Telemetry.Name).AddOtlpExporter());
    }

    // An empty variable is one that is not set, as everywhere in OpenTelemetry.
    private static string? Value(string name) => Environment.GetEnvironmentVariable(Prefix + name) is { Length: > 0 } value ? value : null;

    private static void Require(string name, Func<string, bool> isValid, string otherwise)
    {
        if (Value(name) is { } value && !isValid(value))
            throw new BadInputException($"{Prefix}{name}: '{BadInputException.Shown(value)}' {otherwise}");
    }

    private static bool IsAddress(string value) =>
        Uri.TryCreate(value, UriKind.Absolute, out var address) && address.Scheme is "http" or "https" && address.Host.Length > 0
        && value.StartsWith(address.Scheme + "://", StringComparison.OrdinalIgnoreCase);
}

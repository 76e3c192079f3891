using FedRLora.Abstractions;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace FedRLora.Silo;

internal static class TelemetryBuilderExtensions
{
    /// <summary>OTLP export of our meter and activities, and Orleans' own, when OTEL_EXPORTER_OTLP_ENDPOINT (or its metrics or traces form) is set.</summary>
    public static void AddTelemetry(this IHostApplicationBuilder builder, string siloName)
    {
        string[] endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        if (!endpoints.Any(static name => !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(name)))) return;
        builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("fedrlora", serviceInstanceId: siloName))
            .WithMetrics(static metrics => metrics.AddMeter(Telemetry.Name, "Microsoft.Orleans").AddOtlpExporter())
            .WithTracing(static traces => traces.AddSource(Telemetry.Name).AddOtlpExporter());
    }
}

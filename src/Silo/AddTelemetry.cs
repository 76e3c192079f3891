using FedRLora.Abstractions;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace FedRLora.Silo;

internal static class TelemetryBuilderExtensions
{
    /// <summary>
    /// OTLP export of our meter and activities, and Orleans' own, for each signal that OpenTelemetry's variables ask for.
    /// </summary>
    /// <exception cref="BadInputException">A variable has a value that the exporter would pass over.</exception>
    public static void AddTelemetry(this IHostApplicationBuilder builder, string siloName)
    {
        var variables = TelemetryVariables.Read();
        // before the exporters, so that it outlives them: what is left is sent as they end
        builder.Services.AddSingleton(variables).AddHostedService<TelemetryLoss>();
        if (!variables.SendsMetrics && !variables.SendsTraces) return;
        // the environment comes last, so that its names of the service and the instance are the ones that are sent
        var telemetry = builder.Services.AddOpenTelemetry().ConfigureResource(resource => resource.Clear()
            .AddService("fedrlora", serviceInstanceId: siloName).AddTelemetrySdk().AddEnvironmentVariableDetector());
        if (variables.SendsMetrics)
            telemetry.WithMetrics(metrics => metrics.AddMeter(Telemetry.Name, "Microsoft.Orleans")
                .AddOtlpExporter(exporter => variables.SetMetrics(exporter)));
        if (variables.SendsTraces)
            telemetry.WithTracing(traces => traces.AddSource(Telemetry.Name).AddOtlpExporter(exporter => variables.SetTraces(exporter)));
    }
}

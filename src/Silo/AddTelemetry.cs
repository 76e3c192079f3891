using FedRLora.Abstractions;
using FedRLora.ControlPlane.Scraping;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Silos;
using FedRLora.Silo.Logs;
using FedRLora.Silo.Metrics;
using FedRLora.Silo.Otlp;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Logs;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace FedRLora.Silo;

internal static class TelemetryBuilderExtensions
{
    /// <summary>
    /// The store of metrics with its page for Prometheus, and OTLP export of metrics, activities and logs for each signal that
    /// OpenTelemetry's variables ask for.
    /// </summary>
    /// <exception cref="BadInputException">A variable has a value that the exporter would pass over.</exception>
    public static void AddTelemetry(this IHostApplicationBuilder builder, SiloOptions silo)
    {
        var variables = TelemetryVariables.Read();
        builder.Services.AddSingleton(variables).AddSingleton(services => new MetricStore(
            variables.SendsMetrics, variables.Exemplars, services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<ILogger<MetricStore>>()));
        builder.Services.AddSingleton<ISiloAccount, SiloAccount>();
        builder.Services.AddSingleton<IMetricsPage>(services => new MetricsPage(services.GetRequiredService<MetricStore>(), silo));
        // the environment comes last, so that its names of the service and the instance are the ones that are sent
        void Describe(ResourceBuilder resource) => resource.Clear()
            .AddService("fedrlora", serviceVersion: MetricsPage.Version, serviceInstanceId: silo.Name)
            .AddAttributes([new("fedrlora.silo", silo.Name), new("fedrlora.site", string.Join(',', silo.Sites))])
            .AddTelemetrySdk().AddEnvironmentVariableDetector();
        var described = ResourceBuilder.CreateEmpty();
        Describe(described);
        // disposed by the host as what a function made; the exporters use it before the host has services
        var export = new TelemetryExport(variables, described.Build(), TimeProvider.System);
        builder.Services.AddSingleton(services => export.With(services));
        // the first: it ends last, when everything else has said what it has to say
        builder.Services.AddHostedService(static services => services.GetRequiredService<TelemetryExport>());
        builder.Services.AddHostedService<MetricsBeginning>();
        if (!variables.SendsTraces && !variables.SendsLogs) return;
        var telemetry = builder.Services.AddOpenTelemetry().ConfigureResource(Describe);
        if (variables.SendsTraces)
        {
            telemetry.WithTracing(traces => traces.AddSource(Telemetry.Name).AddOtlpExporter(exporter =>
            {
                variables.SetTraces(exporter);
                exporter.HttpClientFactory = export.SpanClient;
            }));
        }

        if (!variables.SendsLogs) return;
        telemetry.WithLogging(
            logs => logs.AddProcessor(new NamedAttributes()).AddOtlpExporter(exporter =>
            {
                variables.SetLogs(exporter);
                exporter.HttpClientFactory = export.LogClient;
            }),
            static options => (options.IncludeFormattedMessage, options.IncludeScopes) = (true, false));
        // what it says of lost records would be the next one
        builder.Logging.AddFilter<OpenTelemetryLoggerProvider>(typeof(TelemetryExport).FullName, LogLevel.None);
    }

    // Counts from the beginning, whoever reads it first.
    private sealed class MetricsBeginning(MetricStore store) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => Task.FromResult(store);

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

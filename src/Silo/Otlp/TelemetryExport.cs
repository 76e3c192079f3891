using FedRLora.Silo.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Logs;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace FedRLora.Silo.Otlp;

/// <summary>
/// All that leaves by OTLP: a queue for each signal, metrics at their interval, and an end that takes no longer than
/// <see cref="Patience"/>, whatever the collector does. It is the first hosted service, so that it ends last.
/// </summary>
internal sealed partial class TelemetryExport : IHostedService, IDisposable
{
    /// <summary>How long after the host was asked to stop the collector may still be waited for; and how long at least.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(1), LeastPatience = TimeSpan.FromSeconds(0.2);

    private readonly TelemetryVariables _variables;
    private readonly Resource _resource;
    private readonly TimeProvider _time;
    private readonly HttpMessageInvoker _http;
    private readonly CancellationTokenSource _ending = new();
    private IServiceProvider? _services;
    private Task _measuring = Task.CompletedTask;
    private OtlpMetrics? _format;
    private long? _stoppingSince;

    public TelemetryExport(TelemetryVariables variables, Resource resource, TimeProvider time)
    {
        (_variables, _resource, _time) = (variables, resource, time);
        _http = new HttpMessageInvoker(variables.Handler());
        if (variables.SendsMetrics) Metrics = Queue("metrics", "METRICS_");
        if (variables.SendsTraces) Spans = Queue("spans", "TRACES_");
        if (variables.SendsLogs) Logs = Queue("log records", "LOGS_");
    }

    private OtlpQueue? Metrics { get; }

    private OtlpQueue? Spans { get; }

    private OtlpQueue? Logs { get; }

    private IEnumerable<OtlpQueue> Queues => new[] { Metrics, Spans, Logs }.OfType<OtlpQueue>();

    /// <summary>What takes spans from OpenTelemetry's exporter.</summary>
    public HttpClient SpanClient() => new(new QueueingHandler(Spans!));

    /// <summary>What takes log records from OpenTelemetry's exporter.</summary>
    public HttpClient LogClient() => new(new QueueingHandler(Logs!));

    /// <summary>The host's services; before they are there, nothing has to be said.</summary>
    public TelemetryExport With(IServiceProvider services)
    {
        _services = services;
        return this;
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (_variables.WithoutEffect is { } line) LogWithoutEffect(Logger(), line);
        _services!.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping.Register(
            () => _stoppingSince = _time.GetTimestamp());
        if (Metrics is null) return Task.CompletedTask;
        _format = new(_resource, _variables.IsDelta);
        _measuring = MeasureAsync();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _ending.CancelAsync();
        await _measuring;
        SendMetrics();
        // They only put what they have into the queues.
        var passed = _stoppingSince is { } since ? _time.GetElapsedTime(since) : TimeSpan.Zero;
        var left = passed + LeastPatience < Patience ? Patience - passed : LeastPatience;
        var quick = (int)left.TotalMilliseconds;
        if (Spans is not null) _services!.GetService<TracerProvider>()?.ForceFlush(quick);
        if (Logs is not null) _services!.GetService<LoggerProvider>()?.ForceFlush(quick);
        await Task.WhenAll(Queues.Select(queue => queue.EndAsync(left)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var queue in Queues) queue.Dispose();
        _http.Dispose();
        _ending.Dispose();
    }

    private OtlpQueue Queue(string what, string signal) => new(what, _http, _variables.TimeoutOf(signal), _time, Logger);

    private ILogger Logger() => _services!.GetRequiredService<ILogger<TelemetryExport>>();

    private async Task MeasureAsync()
    {
        using var timer = new PeriodicTimer(_variables.MetricInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_ending.Token)) SendMetrics();
        }
        catch (OperationCanceledException)
        {
            // the end sends the last ones
        }
    }

    private void SendMetrics()
    {
        if (Metrics is null) return;
        var families = _services!.GetRequiredService<MetricStore>().Collect();
        Metrics.Add(_variables.MetricsRequest(_format!.Write(families, _time.GetUtcNow())));
    }

    [LoggerMessage(521, LogLevel.Warning, "{Line}")]
    private static partial void LogWithoutEffect(ILogger logger, string line);
}

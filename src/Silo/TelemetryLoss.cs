using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo;

/// <summary>
/// Says when telemetry does not arrive. OpenTelemetry tells it to nobody but listeners of its own events; a run goes on without it.
/// </summary>
internal sealed partial class TelemetryLoss : EventListener, IHostedService
{
    private const string Exporter = "OpenTelemetry-Exporter-OpenTelemetryProtocol";
    private static readonly TimeSpan SayAgainAfter = TimeSpan.FromMinutes(10);

    private readonly ConcurrentDictionary<string, long> _said = new(StringComparer.Ordinal);
    private readonly ILogger<TelemetryLoss> _logger;
    private readonly TelemetryVariables _variables;
    private readonly TimeProvider _time;

    public TelemetryLoss(TelemetryVariables variables, TimeProvider time, ILogger<TelemetryLoss> logger) =>
        (_variables, _time, _logger) = (variables, time, logger);

    public Task StartAsync(CancellationToken cancellationToken)
    {
        if (_variables.WithoutEffect is { } line) LogWithoutEffect(line);
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask; // what is left is sent after it

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == Exporter) EnableEvents(eventSource, EventLevel.Warning);
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        if (eventData.EventSource.Name != Exporter) return; // what other listeners asked for is heard too
        var parts = (eventData.Payload ?? []).Select(static part => part?.ToString() ?? "").Where(static part => part.Length > 0).ToArray();
        var place = parts is [var first, ..] && Uri.TryCreate(first, UriKind.Absolute, out var address)
            ? $"{address.Scheme}://{address.Authority}{address.AbsolutePath}" // without a name and password
            : eventData.EventName ?? "";
        var now = _time.GetTimestamp();
        if (_said.TryGetValue(place, out var before) && _time.GetElapsedTime(before, now) < SayAgainAfter) return;
        _said[place] = now;
        LogLost(place, parts is [.., var last] ? Reason(last) : "no reason is given");
    }

    // The message of an exception that was written with its type and stack.
    private static string Reason(string exception)
    {
        var line = exception.Split(['\r', '\n'], 2)[0].Split(" --->")[0].Trim();
        return line.IndexOf("Exception: ", StringComparison.Ordinal) is >= 0 and var end ? line[(end + "Exception: ".Length)..] : line;
    }

    [LoggerMessage(521, LogLevel.Warning, "{Line}")]
    private partial void LogWithoutEffect(string line);

    [LoggerMessage(522, LogLevel.Warning, "Telemetry is lost, and the work goes on without it: {Place}: {Reason}")]
    private partial void LogLost(string place, string reason);
}

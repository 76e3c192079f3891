using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using FedRLora.Abstractions;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo.Metrics;

/// <summary>
/// What the instruments of this process have measured: the one account that the page for Prometheus and the export by OTLP are written
/// from. Series of a run leave it: some time after the run is over here, and where this silo saw too many other runs since. Beyond the
/// bound no series is folded into another: it is left out, counted and named.
/// </summary>
internal sealed partial class MetricStore : IDisposable
{
    /// <summary>Meter of Orleans: for OTLP alone, since its times are milliseconds and its names not Prometheus'.</summary>
    public const string Orleans = "Microsoft.Orleans";

    /// <summary>Series that the store has room for; some 10 MB of histograms.</summary>
    public const int MostSeries = 20_000;

    /// <summary>Runs whose series are kept while nothing says that they are over: a site does not hear of it.</summary>
    public const int MostRuns = 100;

    /// <summary>How long the series of a run stay after its end, to be read once more.</summary>
    public static readonly TimeSpan KeepOver = TimeSpan.FromMinutes(15);

    private readonly MeterListener _listener = new();
    private readonly ConcurrentDictionary<Instrument, MetricFamily> _families = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, RunSeries> _runs = new(StringComparer.Ordinal);
    private readonly Lock _gate = new(); // of _runs, and of what is observed
    private readonly TimeProvider _time;
    private readonly ILogger<MetricStore> _logger;
    private readonly ExemplarFilter _exemplars;
    private int _series;
    private long _leftOut;
    private int _isLeftOutSaid;

    /// <param name="withOrleans">Whether Orleans' meter is heard too.</param>
    /// <param name="exemplars">Which measurements may be exemplars.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Hears once of series that are left out.</param>
    public MetricStore(bool withOrleans, ExemplarFilter exemplars, TimeProvider time, ILogger<MetricStore> logger)
    {
        (_exemplars, _time, _logger) = (exemplars, time, logger);
        _listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == Telemetry.Name || (withOrleans && instrument.Meter.Name == Orleans))
                self.EnableMeasurementEvents(instrument, _families.GetOrAdd(instrument, static one => new(one)));
        };
        _listener.SetMeasurementEventCallback<long>((_, value, tags, family) => Hear(value, tags, family));
        _listener.SetMeasurementEventCallback<int>((_, value, tags, family) => Hear(value, tags, family));
        _listener.SetMeasurementEventCallback<double>((_, value, tags, family) => Hear(value, tags, family));
        _listener.SetMeasurementEventCallback<float>((_, value, tags, family) => Hear(value, tags, family));
        _listener.Start();
        OpenRuns.Over += End;
        // Series that are there before their first event.
        foreach (var operation in new[] { "read", "write", "list", "delete", "sync" })
        {
            foreach (var store in new[] { "job", "site" })
                Telemetry.StoreFailures.Add(0, new("store", store), new("operation", operation));
        }
    }

    /// <summary>Measurements that had no room.</summary>
    public long LeftOut => Interlocked.Read(ref _leftOut);

    /// <summary>Series that are kept.</summary>
    public int Series => Volatile.Read(ref _series);

    /// <summary>All that is known now, by instrument in the order of their names; what has no series has no family.</summary>
    public IReadOnlyList<FamilyNow> Collect()
    {
        lock (_gate)
        {
            ForgetOver();
            foreach (var family in _families.Values) family.BeginObserving();
            _listener.RecordObservableInstruments();
            return [.. _families.Values.Select(static family => family.Now()).Where(static family => family.Series.Count > 0)
                .OrderBy(static family => family.Instrument.Name, StringComparer.Ordinal)];
        }
    }

    public void Dispose()
    {
        OpenRuns.Over -= End;
        _listener.Dispose();
    }

    private void Hear(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags, object? state)
    {
        var family = (MetricFamily)state!;
        if (family.Instrument.IsObservable)
        {
            family.Observe(value, tags, _time.GetUtcNow());
            return;
        }

        if (family.Find(tags) is not { } series)
        {
            if (Volatile.Read(ref _series) >= MostSeries)
            {
                LeaveOut(family);
                return;
            }

            (series, var isNew) = family.Add(tags, _time.GetUtcNow());
            if (isNew) Keep(family, series);
        }

        var activity = Activity.Current;
        var isExemplar = _exemplars switch
        {
            ExemplarFilter.AlwaysOff => false, ExemplarFilter.AlwaysOn => true, _ => activity is { Recorded: true },
        };
        series.Record(value,
            isExemplar ? new(value, _time.GetUtcNow(), activity?.TraceId.ToHexString(), activity?.SpanId.ToHexString()) : null);
        if (series.Owner is { } owner) owner.UsedAt = _time.GetTimestamp();
    }

    private void LeaveOut(MetricFamily family)
    {
        Interlocked.Increment(ref _leftOut);
        if (Interlocked.Exchange(ref _isLeftOutSaid, 1) == 0) LogLeftOut(MostSeries, family.Instrument.Name);
    }

    private void Keep(MetricFamily family, MetricSeries series)
    {
        Interlocked.Increment(ref _series);
        if (series.Run is not { } run) return;
        lock (_gate)
        {
            if (!_runs.TryGetValue(run, out var owner))
            {
                if (_runs.Count >= MostRuns) Forget(_runs.MinBy(static one => one.Value.UsedAt).Key);
                _runs.Add(run, owner = new());
            }

            owner.Series.Add((family, series));
            owner.UsedAt = _time.GetTimestamp();
            series.Owner = owner;
        }
    }

    private void End(string run)
    {
        lock (_gate)
        {
            if (_runs.TryGetValue(run, out var owner)) owner.OverAt = _time.GetTimestamp();
        }
    }

    // A run that is extended or resumed after its end is used again.
    private void ForgetOver()
    {
        foreach (var (run, owner) in _runs.ToArray())
        {
            if (owner.OverAt is not { } over) continue;
            if (owner.UsedAt > over) owner.OverAt = null;
            else if (_time.GetElapsedTime(over) >= KeepOver) Forget(run);
        }
    }

    private void Forget(string run)
    {
        if (!_runs.Remove(run, out var owner)) return;
        foreach (var (family, series) in owner.Series)
        {
            family.Remove(series);
            Interlocked.Decrement(ref _series);
        }
    }

    [LoggerMessage(523, LogLevel.Warning,
        "Metrics: {Most} series are kept and there is no room for more; further ones are left out, as of {Name}")]
    private partial void LogLeftOut(int most, string name);
}

/// <summary>Which measurements may become exemplars, as <c>OTEL_METRICS_EXEMPLAR_FILTER</c> says.</summary>
internal enum ExemplarFilter
{
    /// <summary>Those made within a span that is sent.</summary>
    TraceBased,

    /// <summary>All.</summary>
    AlwaysOn,

    /// <summary>None.</summary>
    AlwaysOff,
}

/// <summary>The series that a run has in all families.</summary>
internal sealed class RunSeries
{
    public List<(MetricFamily Family, MetricSeries Series)> Series { get; } = [];

    public long UsedAt { get; set; }

    public long? OverAt { get; set; }
}

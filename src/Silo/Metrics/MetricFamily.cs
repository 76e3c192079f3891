using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Silo.Metrics;

/// <summary>What a measurement was made within.</summary>
/// <param name="Value">What was measured.</param>
/// <param name="At">When.</param>
/// <param name="TraceId">Of the span; null where there was none.</param>
/// <param name="SpanId">Of the span; null where there was none.</param>
internal sealed record Exemplar(double Value, DateTimeOffset At, string? TraceId, string? SpanId);

/// <summary>
/// A series as it is now. Of a histogram, <see cref="Value"/> is the sum; <see cref="Labels"/> are its tags as Prometheus writes them.
/// </summary>
internal sealed record SeriesNow(
    string Key, string Labels, IReadOnlyList<KeyValuePair<string, string>> Tags, DateTimeOffset Since, double Value,
    IReadOnlyList<long> Buckets,
    IReadOnlyList<Exemplar?> Exemplars)
{
    /// <summary>Measurements of a histogram.</summary>
    public long Count => Buckets.Sum();
}

/// <summary>A family of series as it is now.</summary>
internal sealed record FamilyNow(Instrument Instrument, FamilyKind Kind, IReadOnlyList<double> Bounds, IReadOnlyList<SeriesNow> Series);

/// <summary>What a family's values mean.</summary>
internal enum FamilyKind
{
    /// <summary>A sum that only grows.</summary>
    Counter,

    /// <summary>A sum that also falls.</summary>
    UpDown,

    /// <summary>A value.</summary>
    Gauge,

    /// <summary>Counts by bucket.</summary>
    Histogram,
}

/// <summary>The series of one instrument.</summary>
internal sealed class MetricFamily(Instrument instrument)
{
    // OpenTelemetry's, for instruments that state none: those of other meters than ours.
    private static readonly double[] Unstated = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000];

    private readonly ConcurrentDictionary<string, MetricSeries> _series = new(StringComparer.Ordinal);
    private readonly double[] _bounds = BoundsOf(instrument);
    private readonly FamilyKind _kind = KindOf(instrument);

    public Instrument Instrument => instrument;

    public MetricSeries? Find(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        Span<char> buffer = stackalloc char[512];
        return Write(tags, buffer, out var length)
            ? _series.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(buffer[..length], out var series) ? series : null
            : _series.GetValueOrDefault(KeyOf(tags));
    }

    public (MetricSeries Series, bool IsNew) Add(ReadOnlySpan<KeyValuePair<string, object?>> tags, DateTimeOffset now)
    {
        var key = KeyOf(tags);
        var made = new MetricSeries(key, Texts(tags), now, _kind == FamilyKind.Histogram ? _bounds : null);
        var kept = _series.GetOrAdd(key, made);
        return (kept, ReferenceEquals(kept, made));
    }

    public void Remove(MetricSeries series) => _series.TryRemove(series.Key, out _);

    /// <summary>What is observed next is all that there is.</summary>
    public void BeginObserving()
    {
        if (instrument.IsObservable) _series.Clear();
    }

    public void Observe(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags, DateTimeOffset now) =>
        Add(tags, now).Series.Set(value);

    public FamilyNow Now() => new(instrument, _kind, _bounds, [.. _series.Values.Select(static series => series.Now())
        .OrderBy(static series => series.Key, StringComparer.Ordinal)]);

    private static FamilyKind KindOf(Instrument instrument)
    {
        var name = instrument.GetType().Name;
        return name.StartsWith("Histogram", StringComparison.Ordinal) ? FamilyKind.Histogram
            : name.Contains("UpDown", StringComparison.Ordinal) ? FamilyKind.UpDown
            : name.Contains("Counter", StringComparison.Ordinal) ? FamilyKind.Counter
            : FamilyKind.Gauge;
    }

    private static double[] BoundsOf(Instrument instrument) => instrument switch
    {
        Histogram<double> { Advice.HistogramBucketBoundaries: { } stated } => [.. stated],
        Histogram<long> { Advice.HistogramBucketBoundaries: { } stated } => [.. stated.Select(static bound => (double)bound)],
        _ => Unstated,
    };

    // Tags of one instrument come in one order, since each is recorded at few places.
    private static bool Write(ReadOnlySpan<KeyValuePair<string, object?>> tags, Span<char> buffer, out int length)
    {
        length = 0;
        foreach (var (name, value) in tags)
        {
            var text = TextOf(value);
            if (length + name.Length + text.Length + 2 > buffer.Length) return false;
            name.CopyTo(buffer[length..]);
            buffer[length + name.Length] = '\u0001';
            text.CopyTo(buffer[(length + name.Length + 1)..]);
            buffer[length + name.Length + 1 + text.Length] = '\u0002';
            length += name.Length + text.Length + 2;
        }

        return true;
    }

    private static string KeyOf(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var key = new StringBuilder();
        foreach (var (name, value) in tags) key.Append(name).Append('\u0001').Append(TextOf(value)).Append('\u0002');
        return key.ToString();
    }

    private static KeyValuePair<string, string>[] Texts(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var texts = new KeyValuePair<string, string>[tags.Length];
        for (var i = 0; i < tags.Length; i++) texts[i] = new(tags[i].Key, TextOf(tags[i].Value));
        return texts;
    }

    private static string TextOf(object? value) =>
        value as string ?? Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
}

/// <summary>One series: a sum, a value, or counts by bucket.</summary>
internal sealed class MetricSeries
{
    private readonly Lock _gate = new();
    private readonly KeyValuePair<string, string>[] _tags;
    private readonly DateTimeOffset _since;
    private readonly double[]? _bounds;
    private readonly long[] _buckets;
    private readonly Exemplar?[] _exemplars;
    private string? _labels; // once: the page is written every few seconds
    private double _value;

    public MetricSeries(string key, KeyValuePair<string, string>[] tags, DateTimeOffset since, double[]? bounds)
    {
        (Key, _tags, _since, _bounds) = (key, tags, since, bounds);
        _buckets = bounds is null ? [] : new long[bounds.Length + 1];
        _exemplars = new Exemplar?[Math.Max(1, _buckets.Length)];
        Run = Array.Find(tags, static tag => tag.Key == Telemetry.Run).Value;
    }

    public string Key { get; }

    /// <summary>The run that it is of; null for none.</summary>
    public string? Run { get; }

    public RunSeries? Owner { get; set; }

    public void Record(double value, Exemplar? exemplar)
    {
        lock (_gate)
        {
            _value += value;
            var at = 0;
            if (_bounds is not null)
            {
                at = Array.BinarySearch(_bounds, value);
                if (at < 0) at = ~at; // a bound belongs to its bucket
                _buckets[at]++;
            }

            if (exemplar is not null && (_bounds is not null || value != 0)) _exemplars[at] = exemplar;
        }
    }

    public void Set(double value)
    {
        lock (_gate) _value = value;
    }

    public SeriesNow Now()
    {
        lock (_gate) return new(Key, _labels ??= PrometheusText.Labels(_tags), _tags, _since, _value, [.. _buckets], [.. _exemplars]);
    }
}

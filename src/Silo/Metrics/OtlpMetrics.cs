using System.Globalization;
using FedRLora.ControlPlane.Metrics;
using OpenTelemetry.Resources;

namespace FedRLora.Silo.Metrics;

/// <summary>Families as an <c>ExportMetricsServiceRequest</c> of OTLP 1.</summary>
internal sealed class OtlpMetrics(Resource resource, bool isDelta)
{
    private const ulong Delta = 1, Cumulative = 2;
    private readonly Dictionary<(string Meter, string Name, string Tags), SeriesNow> _sent = []; // with delta alone
    private DateTimeOffset _sentAt;

    /// <summary>Writes families as they are at <paramref name="now"/>.</summary>
    public byte[] Write(IReadOnlyList<FamilyNow> families, DateTimeOffset now)
    {
        var request = new ProtoWriter().Message(1, metrics =>
        {
            metrics.Message(1, described =>
            {
                foreach (var (name, value) in resource.Attributes) Attribute(described, 1, name, value);
            });
            foreach (var meter in families.GroupBy(static family => family.Instrument.Meter.Name))
            {
                metrics.Message(2, scope =>
                {
                    scope.Message(1, named => named.Text(1, meter.Key));
                    foreach (var family in meter) scope.Message(2, metric => Write(metric, family, now));
                });
            }
        });
        if (isDelta) Remember(families, now);
        return request.ToArray();
    }

    private void Write(ProtoWriter metric, FamilyNow family, DateTimeOffset now)
    {
        var instrument = family.Instrument;
        metric.Text(1, instrument.Name).Text(2, instrument.Description ?? "").Text(3, instrument.Unit ?? "");
        switch (family.Kind)
        {
            case FamilyKind.Gauge:
                metric.Message(5, gauge =>
                {
                    foreach (var series in family.Series) gauge.Message(1, point => Number(point, series, null, now));
                });
                break;
            case FamilyKind.Histogram:
                metric.Message(9, histogram =>
                {
                    foreach (var series in family.Series) histogram.Message(1, point => Histogram(point, family, series, now));
                    histogram.Number(2, isDelta ? Delta : Cumulative);
                });
                break;
            default:
                // What goes down again has no increments that a receiver could add up after a loss.
                var grows = family.Kind == FamilyKind.Counter;
                metric.Message(7, sum =>
                {
                    foreach (var series in family.Series) sum.Message(1, point => Number(point, series, grows ? family : null, now));
                    sum.Number(2, isDelta && grows ? Delta : Cumulative).Number(3, grows ? 1UL : 0);
                });
                break;
        }
    }

    private void Number(ProtoWriter point, SeriesNow series, FamilyNow? added, DateTimeOffset now)
    {
        var before = added is null ? null : Before(added, series);
        Times(point, series, before, now);
        point.Fixed(4, series.Value - (before?.Value ?? 0));
        if (series.Exemplars[0] is { } exemplar) point.Message(5, one => Exemplar(one, exemplar));
        foreach (var (name, value) in series.Tags) Attribute(point, 7, name, value);
    }

    private void Histogram(ProtoWriter point, FamilyNow family, SeriesNow series, DateTimeOffset now)
    {
        var before = Before(family, series);
        Times(point, series, before, now);
        var buckets = series.Buckets.Select((count, at) => (ulong)(count - (before?.Buckets[at] ?? 0))).ToArray();
        point.Fixed(4, buckets.Aggregate(0UL, static (sum, count) => sum + count)).Fixed(5, series.Value - (before?.Value ?? 0))
            .Packed(6, buckets).Packed(7, family.Bounds.Select(BitConverter.DoubleToUInt64Bits));
        foreach (var exemplar in series.Exemplars.OfType<Exemplar>()) point.Message(8, one => Exemplar(one, exemplar));
        foreach (var (name, value) in series.Tags) Attribute(point, 9, name, value);
    }

    private void Times(ProtoWriter point, SeriesNow series, SeriesNow? before, DateTimeOffset now) =>
        point.Fixed(2, Nanoseconds(before is null ? series.Since : _sentAt)).Fixed(3, Nanoseconds(now));

    private static void Exemplar(ProtoWriter one, Exemplar exemplar)
    {
        one.Fixed(2, Nanoseconds(exemplar.At)).Fixed(3, exemplar.Value);
        if (exemplar.SpanId is not null) one.Bytes(4, Convert.FromHexString(exemplar.SpanId));
        if (exemplar.TraceId is not null) one.Bytes(5, Convert.FromHexString(exemplar.TraceId));
    }

    private static void Attribute(ProtoWriter message, int field, string name, object value) =>
        message.Message(field, pair => pair.Text(1, name)
            .Message(2, any =>
            {
                if (value is bool flag) any.Number(2, flag ? 1UL : 0);
                else if (value is long whole) any.Number(3, (ulong)whole);
                else if (value is double number) any.Fixed(4, number);
                else any.Text(1, Convert.ToString(value, CultureInfo.InvariantCulture) ?? "");
            }));

    private SeriesNow? Before(FamilyNow family, SeriesNow series) => isDelta ? _sent.GetValueOrDefault(KeyOf(family, series)) : null;

    private void Remember(IReadOnlyList<FamilyNow> families, DateTimeOffset now)
    {
        _sent.Clear();
        foreach (var family in families)
        {
            foreach (var series in family.Series) _sent[KeyOf(family, series)] = series;
        }

        _sentAt = now;
    }

    private static (string, string, string) KeyOf(FamilyNow family, SeriesNow series) =>
        (family.Instrument.Meter.Name, family.Instrument.Name, series.Key);

    private static ulong Nanoseconds(DateTimeOffset at) => (ulong)(at - DateTimeOffset.UnixEpoch).Ticks * 100;
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Grains.Silos;

namespace FedRLora.Silo.Metrics;

/// <summary>The silo's traffic from <see cref="MetricStore"/>: the numbers of the page for Prometheus, added up.</summary>
internal sealed class SiloAccount(MetricStore store) : ISiloAccount
{
    private const string Store = "store", Operation = "operation";

    public SiloTraffic Traffic()
    {
        var families = store.Collect().ToDictionary(static family => family.Instrument.Name, StringComparer.Ordinal);
        var (took, failed) = (Of(Telemetry.StoreDuration.Name), Of(Telemetry.StoreFailures.Name));
        var (sent, received) = (Of(Telemetry.BytesSent.Name), Of(Telemetry.BytesReceived.Name));
        return new()
        {
            Stores =
            [
                .. took.Concat(failed).Select(static series => (Store: Tag(series, Store), Operation: Tag(series, Operation))).Distinct()
                    .Order().Select(one =>
                    {
                        var durations = took.Where(series => (Tag(series, Store), Tag(series, Operation)) == one).ToList();
                        var calls = durations.Sum(static series => series.Count);
                        var failures = failed.Where(series => (Tag(series, Store), Tag(series, Operation)) == one)
                            .Sum(static series => (long)series.Value);
                        return new StoreCalls(one.Store, one.Operation, calls, failures,
                            calls == 0 ? null : durations.Sum(static series => series.Value) / calls);
                    })
                    .Where(static one => one.Calls > 0 || one.Failures > 0),
            ],
            Runs =
            [
                .. sent.Concat(received).Select(static series => (Run: Tag(series, Telemetry.Run), Site: Tag(series, Telemetry.Site)))
                    .Distinct().Order().Select(one => new ClientBytes(one.Run, one.Site, BytesOf(sent, one), BytesOf(received, one))),
            ],
        };

        IReadOnlyList<SeriesNow> Of(string name) => families.TryGetValue(name, out var family) ? family.Series : [];
    }

    private static long BytesOf(IReadOnlyList<SeriesNow> series, (string Run, string Site) of) =>
        (long)series.Where(one => (Tag(one, Telemetry.Run), Tag(one, Telemetry.Site)) == of).Sum(static one => one.Value);

    private static string Tag(SeriesNow series, string name) =>
        series.Tags.FirstOrDefault(tag => tag.Key == name) is { Key: not null, Value: var value } ? value : "";
}

using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Silo.Metrics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Instruments = FedRLora.Abstractions.Telemetry;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>
/// The account of metrics: what it keeps, what it lets go, what it writes. One at a time: instruments belong to the process.
/// </summary>
[CollectionDefinition(nameof(MetricStoreTests), DisableParallelization = true)]
[Collection(nameof(MetricStoreTests))]
public sealed class MetricStoreTests
{
    [Fact]
    public void A_thousand_runs_leave_no_more_series_than_a_hundred()
    {
        using var store = Store();
        Runs(0, MetricStore.MostRuns + 20);
        var (series, bytes) = (store.Series, Bytes());

        Runs(1_000, 1_000);

        Assert.Equal(series, store.Series);
        Assert.InRange(Bytes() - bytes, long.MinValue, 2 << 20);

        static void Runs(int first, int count)
        {
            for (var run = first; run < first + count; run++)
            {
                Instruments.Begin($"flat-{run}", ["north", "south"]);
                Instruments.BeginSite($"flat-{run}", "north", ["a", "b"]);
                Instruments.Rounds.Add(1, Instruments.Of(Instruments.Run, $"flat-{run}"));
                Instruments.RoundDuration.Record(1, Instruments.Of(Instruments.Run, $"flat-{run}"));
                OpenRuns.End($"flat-{run}");
            }
        }

        static long Bytes() => GC.GetTotalMemory(forceFullCollection: true);
    }

    [Fact]
    public void A_silo_s_traffic_is_what_its_store_has_counted()
    {
        using var store = Store();
        var account = new SiloAccount(store);
        var before = account.Traffic().Stores.SingleOrDefault(static one => (one.Store, one.Operation) == ("site", "sync"));
        Instruments.BytesSent.Add(30, new("run", "traffic"), new("site", "north"));
        Instruments.BytesSent.Add(12, new("run", "traffic"), new("site", "north"));
        Instruments.BytesReceived.Add(7, new("run", "traffic"), new("site", "south"));
        foreach (var seconds in new[] { 0.25, 0.75 })
            Instruments.StoreDuration.Record(seconds, new("store", "site"), new("operation", "sync"));
        Instruments.StoreFailures.Add(1, new("store", "site"), new("operation", "sync"));

        var told = account.Traffic();

        Assert.Equal([("north", 42L, 0L), ("south", 0L, 7L)], told.Runs.Where(static one => one.Run == "traffic")
            .Select(static one => (one.Site, one.SentBytes, one.ReceivedBytes)));
        var calls = Assert.Single(told.Stores, static one => (one.Store, one.Operation) == ("site", "sync"));
        Assert.Equal((2, 1), (calls.Calls - (before?.Calls ?? 0), calls.Failures - (before?.Failures ?? 0)));
        Assert.Equal(((before?.MeanSeconds * before?.Calls ?? 0) + 1) / calls.Calls, calls.MeanSeconds);
    }

    [Fact]
    public void Series_of_a_run_stay_for_a_quarter_of_an_hour_after_its_end()
    {
        var time = new ManualTime(DateTimeOffset.UnixEpoch);
        using var store = Store(time: time);
        Instruments.Begin("ended", ["north"]);

        OpenRuns.End("ended");
        var soon = Has(store, "ended");
        time.Advance(MetricStore.KeepOver);

        Assert.True(soon);
        Assert.False(Has(store, "ended"));

        static bool Has(MetricStore store, string run) =>
            store.Collect().Any(family => family.Series.Any(series => series.Tags.Any(tag => tag.Value == run)));
    }

    [Fact]
    public void Three_thousand_clients_have_each_a_series_where_they_were_asked_for()
    {
        using var store = Store();
        var clients = Enumerable.Range(0, 3_000).Select(static i => new ClientLast($"c{i}", 1, 2, 3)).ToArray();
        using var run = OpenRuns.Add("crowd", static () => new(1, 0, 3, 0, "train", DateTimeOffset.UnixEpoch), () => clients);

        var loss = Assert.Single(store.Collect(), static family => family.Instrument.Name == "fedrlora.client.last_loss");

        Assert.Equal(3_000, loss.Series.Select(static series => series.Tags.Single(static tag => tag.Key == "client").Value)
            .Distinct().Count());
    }

    [Fact]
    public void Series_beyond_the_bound_are_left_out_and_one_line_says_so()
    {
        var said = new Lines();
        using var store = Store(said);
        for (var i = 0; i < MetricStore.MostSeries + 500; i++)
            Instruments.Tokens.Add(1, Instruments.Of(Instruments.Run, "wide"), Instruments.Of(Instruments.Site, "s"),
                Instruments.Of(Instruments.Task, $"t{i}"));

        Assert.InRange(store.Series, MetricStore.MostSeries, MetricStore.MostSeries + 10);
        Assert.True(store.LeftOut >= 500);
        Assert.Contains("20000 series are kept", Assert.Single(said.All), StringComparison.Ordinal);
        var tokens = Assert.Single(store.Collect(), static family => family.Instrument.Name == "fedrlora.training.tokens");
        Assert.All(tokens.Series, static series => Assert.Equal(1, series.Value)); // none is the sum of others
    }

    [Fact]
    public void A_bucket_counts_what_is_at_most_its_bound()
    {
        using var store = Store();
        Instruments.RoundDuration.Record(0.1, Instruments.Of(Instruments.Run, "edge"));
        Instruments.RoundDuration.Record(0.1000001, Instruments.Of(Instruments.Run, "edge"));

        var text = Text(store, isOpenMetrics: false);

        Assert.Contains("""fedrlora_round_duration_seconds_bucket{run="edge",silo="s",le="0.05"} 0""", text, StringComparison.Ordinal);
        Assert.Contains("""fedrlora_round_duration_seconds_bucket{run="edge",silo="s",le="0.1"} 1""", text, StringComparison.Ordinal);
        Assert.Contains("""fedrlora_round_duration_seconds_bucket{run="edge",silo="s",le="0.25"} 2""", text, StringComparison.Ordinal);
        Assert.Contains("""fedrlora_round_duration_seconds_count{run="edge",silo="s"} 2""", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Whatever_a_task_is_called_the_page_stays_a_page()
    {
        using var store = Store();
        Instruments.Tokens.Add(1, Instruments.Of(Instruments.Run, "r"), Instruments.Of(Instruments.Site, "s"),
            Instruments.Of(Instruments.Task, "\"><script>\\ \nx"));

        Assert.Contains("""task="\"><script>\\ \nx",silo="s"} 1""", Text(store, isOpenMetrics: false), StringComparison.Ordinal);
    }

    [Fact]
    public void A_measurement_within_a_sent_span_is_an_exemplar_with_the_trace_of_it()
    {
        using var listener = new ActivityListener
        {
            ShouldListenTo = static source => source.Name == Instruments.Name,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
        };
        ActivitySource.AddActivityListener(listener);
        using var store = Store();
        string trace;
        using (var span = Instruments.Source.StartActivity("fedrlora.commit")!)
        {
            trace = span.TraceId.ToHexString();
            Instruments.RoundDuration.Record(0.7, Instruments.Of(Instruments.Run, "traced"));
        }

        var line = Assert.Single(Text(store, isOpenMetrics: true).Split('\n'), line =>
            line.Contains($"trace_id=\"{trace}\"", StringComparison.Ordinal));
        Assert.StartsWith("""fedrlora_round_duration_seconds_bucket{run="traced",silo="s",le="1.0"} 1 # {""", line,
            StringComparison.Ordinal);
        Assert.DoesNotContain("trace_id", Text(store, isOpenMetrics: false), StringComparison.Ordinal);
    }

    private static MetricStore Store(ILogger<MetricStore>? logger = null, TimeProvider? time = null) =>
        new(withOrleans: false, ExemplarFilter.TraceBased, time ?? TimeProvider.System, logger ?? NullLogger<MetricStore>.Instance);

    private static string Text(MetricStore store, bool isOpenMetrics) =>
        PrometheusText.Write(store.Collect(), [new("silo", "s")], [new("silo", "s")], isOpenMetrics);

    private sealed class Lines : ILogger<MetricStore>
    {
        public List<string> All { get; } = [];

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Add(formatter(state, exception));
    }
}

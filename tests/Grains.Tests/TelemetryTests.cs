using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Grains.Logs;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Grains.Tests;

public sealed class TelemetryTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task A_run_counts_its_rounds_reports_and_bytes()
    {
        var run = $"telemetry-{Guid.NewGuid():n}";
        using var heard = new HeardMetrics(run);
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync(run, TestFederation.Plan(clients: 3, rounds: 2), new CancellationTokenSource(Patience).Token);

        Assert.Equal(3, heard.Sums["fedrlora.rounds"]); // the start and two rounds
        Assert.Equal(3, heard.Counts["fedrlora.round.duration"]);
        Assert.Equal(15, heard.Sums["fedrlora.client.reports"]); // three scorings of three clients, two trainings
        Assert.Equal(6, heard.Counts["fedrlora.training.duration"]);
        Assert.Equal(6, heard.Counts["fedrlora.client.upload.duration"]);
        Assert.True(heard.Sums["fedrlora.client.sent"] > 6 * 16 && heard.Sums["fedrlora.client.received"] > 0);
        Assert.DoesNotContain("job", heard.Tags);
        Assert.DoesNotContain("client", heard.Tags); // on request alone
    }

    [Fact]
    public async Task What_has_not_happened_yet_is_counted_as_zero()
    {
        var run = $"zero-{Guid.NewGuid():n}";
        using var heard = new HeardMetrics(run);
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync(run, TestFederation.Plan(clients: 2, rounds: 1), new CancellationTokenSource(Patience).Token);

        Assert.Equal(0, heard.Sums["fedrlora.round.retries"]);
        Assert.Equal(0, heard.ByOutcome["failed train"]);
        Assert.Equal(0, heard.ByOutcome["failed evaluate"]);
        Assert.Equal(2, heard.ByOutcome["ok train"]);
    }

    [Fact]
    public async Task Gauges_of_a_run_are_there_while_it_runs_and_gone_when_it_is_over()
    {
        var run = $"gauges-{Guid.NewGuid():n}";
        using var heard = new HeardMetrics(run);
        var during = new ConcurrentBag<IReadOnlyDictionary<string, double>>();
        var trainer = new FakeTrainer
        {
            BeforeTraining = (_, _) =>
            {
                during.Add(heard.Gauges());
                return Task.CompletedTask;
            },
        };
        await using var federation = await TestFederation.StartAsync(trainer: trainer);

        await federation.RunAsync(run, TestFederation.Plan(clients: 3, rounds: 2), new CancellationTokenSource(Patience).Token);

        Assert.Contains(during, static gauges => gauges["fedrlora.run.open_round"] == 2 && gauges["fedrlora.run.committed_round"] == 1
            && gauges["fedrlora.run.clients_waited_for"] > 0 && gauges["fedrlora.run.sites_absent"] == 0
            && gauges["fedrlora.run.phase train"] == 1 && gauges["fedrlora.run.phase paused"] == 0);
        Assert.Empty(heard.Gauges());
    }

    [Fact]
    public async Task A_round_over_three_silos_is_one_trace_from_its_selection_to_its_commit()
    {
        var run = $"trace-{Guid.NewGuid():n}";
        using var traces = new HeardTraces(run);
        await using var federation = await TestFederation.StartAsync(["north", "south", "west"]);
        var plan = TestFederation.Plan(clients: 6, rounds: 1, site: static i => new[] { "north", "south", "west" }[i % 3]);

        await federation.RunAsync(run, plan, new CancellationTokenSource(Patience).Token);

        var spans = traces.Of(round: 1);
        Assert.Single(spans.Select(static span => span.TraceId).Distinct());
        var root = Assert.Single(spans, static span => span.OperationName == "fedrlora.round");
        Assert.Null(root.ParentId);
        Assert.Equal(
            ["fedrlora.aggregate", "fedrlora.commit", "fedrlora.confirm", "fedrlora.confirm", "fedrlora.confirm", "fedrlora.evaluate",
                "fedrlora.select", "fedrlora.send", "fedrlora.site", "fedrlora.site", "fedrlora.site"],
            Below(root));
        var evaluation = Assert.Single(spans, static span => span.OperationName == "fedrlora.evaluate");
        Assert.Equal(["fedrlora.send", "fedrlora.site", "fedrlora.site", "fedrlora.site"], Below(evaluation));
        var sites = spans.Where(span => span.OperationName == "fedrlora.site" && span.ParentSpanId == root.SpanId).ToArray();
        Assert.Equal(["north", "south", "west"], sites.Select(static span => (string)span.GetTagItem("site")!).Order());
        var clients = spans.Where(span => sites.Any(site => site.SpanId == span.ParentSpanId)).ToArray();
        Assert.Equal(6, clients.Select(static span => span.GetTagItem("client")).Distinct().Count());
        Assert.All(clients, client => Assert.Equal(["fedrlora.load", "fedrlora.queue", "fedrlora.train", "fedrlora.upload"],
            Below(client).Distinct()));
        Assert.All(spans, span => Assert.True(span.StartTimeUtc >= root.StartTimeUtc.AddMilliseconds(-1)));

        string[] Below(Activity parent) => [.. spans.Where(span => span.ParentSpanId == parent.SpanId)
            .Select(static span => span.OperationName).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public async Task The_span_of_a_round_is_as_long_as_the_round_took()
    {
        var run = $"length-{Guid.NewGuid():n}";
        using var traces = new HeardTraces(run);
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync(run, TestFederation.Plan(clients: 3, rounds: 2), new CancellationTokenSource(Patience).Token);

        foreach (var round in new[] { 0, 1, 2 })
        {
            var span = Assert.Single(traces.Of(round), static span => span.OperationName == "fedrlora.round");
            Assert.Equal(traces.Seconds[round], span.Duration.TotalSeconds, tolerance: 1e-5);
        }
    }

    [Fact]
    public async Task Of_many_clients_two_hundred_have_spans_and_those_that_failed()
    {
        var run = $"sample-{Guid.NewGuid():n}";
        using var traces = new HeardTraces(run);
        const string Failing = "c00007";
        var trainer = new FakeTrainer
        {
            Afterwards = static (_, result) => result.ClientId == Failing
                ? new() { ClientId = Failing, Failure = "its disk is full" } : result,
        };
        await using var federation = await TestFederation.StartAsync(["north", "south"], trainer);
        var plan = TestFederation.Plan(
            clients: 210, rounds: 1, strategy: "  quorum: 0.9\n", site: static i => i % 2 == 0 ? "north" : "south");

        await federation.RunAsync(run, plan, new CancellationTokenSource(Patience).Token);

        var trained = traces.Of(round: 1).Where(static span => span.OperationName == "fedrlora.client"
            && span.GetTagItem("phase") as string == "train" && span.Recorded).ToArray();
        var clients = trained.Select(static span => (string)span.GetTagItem("client")!).ToHashSet();
        Assert.InRange(clients.Count, TracedClients.Most, TracedClients.Most + 2); // and who failed, and who closed the round
        Assert.Contains(Failing, clients);
        var sites = traces.Of(round: 1).Where(static span => span.OperationName == "fedrlora.site"
            && span.GetTagItem("phase") as string == "train").ToArray();
        var left = sites.Sum(static site => (int)site.GetTagItem("clients_left_out")!);
        Assert.Equal(210, left + trained.Count(static span => span.GetTagItem("seen_by") is null));
    }

    [Fact]
    public async Task A_round_that_another_activation_takes_up_links_the_trace_that_it_was_begun_in()
    {
        var run = $"revived-{Guid.NewGuid():n}";
        using var traces = new HeardTraces(run);
        var folder = Directory.CreateTempSubdirectory("fedrlora-");
        var held = new TaskCompletionSource();
        var trainer = new FakeTrainer
        {
            BeforeTraining = (_, stopped) =>
            {
                held.TrySetResult();
                return Task.Delay(Timeout.Infinite, stopped);
            },
        };
        await using (var first = await TestFederation.StartAsync(trainer: trainer, folder: folder.FullName))
        {
            await first.Coordinator(run).SubmitAsync(TestFederation.Plan(clients: 2, rounds: 1));
            await held.Task.WaitAsync(Patience);
        }

        await using var second = await TestFederation.StartAsync(folder: folder.FullName);
        await second.Coordinator(run).GetProgressAsync(-1); // which brings it back
        await second.FinishAsync(run, new CancellationTokenSource(Patience).Token);

        var rounds = traces.Of(round: 1).Where(static span => span.OperationName == "fedrlora.round")
            .OrderBy(static span => span.StartTimeUtc).ToArray();
        Assert.Equal(["left", "committed"], rounds.Select(static span => span.GetTagItem("outcome")));
        Assert.Equal(rounds[0].TraceId, Assert.Single(rounds[1].Links).Context.TraceId);
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task Clients_have_metrics_of_their_own_as_far_as_the_silo_has_series_for_them_and_one_line_says_how_many_have_none()
    {
        var run = $"clients-{Guid.NewGuid():n}";
        using var heard = new HeardMetrics(run);
        var last = new ConcurrentBag<(string Client, double Loss)>();
        using var meter = new MeterListener { InstrumentPublished = static (instrument, self) =>
        {
            if (instrument == Telemetry.ClientLoss) self.EnableMeasurementEvents(instrument);
        } };
        meter.SetMeasurementEventCallback<double>((_, loss, tags, _) => last.Add(((string)tags[1].Value!, loss)));
        meter.Start();
        var trainer = new FakeTrainer
        {
            BeforeTraining = (group, _) =>
            {
                last.Clear();
                if (group.Round == 2) meter.RecordObservableInstruments();
                return Task.CompletedTask;
            },
        };
        await using var federation = await TestFederation.StartAsync(trainer: trainer, clientSeries: 2 * Telemetry.SeriesOfClient + 1);

        await federation.RunAsync(run, TestFederation.Plan(clients: 3, rounds: 2), new CancellationTokenSource(Patience).Token);
        var during = last.ToArray();
        last.Clear();
        meter.RecordObservableInstruments();

        Assert.Equal(["c00000", "c00001"], during.Select(static one => one.Client).Distinct().Order());
        Assert.Empty(last);
        var silo = federation.Cluster.Silos[0].ServiceProvider.GetRequiredService<LogRing>();
        Assert.Equal($"Job {run}: 1 of 3 clients have no metrics of their own: the silo has 7 series for them (--client-metrics)",
            Assert.Single(silo.After(run, 0, 2_000).Lines, static line => line.Event == 120).Text);
    }

    /// <summary>What instruments say of one run.</summary>
    private sealed class HeardMetrics : IDisposable
    {
        private readonly MeterListener _listener = new();
        private readonly ConcurrentDictionary<string, double> _gauges = new();

        public HeardMetrics(string run)
        {
            _listener.InstrumentPublished = static (instrument, self) =>
            {
                if (instrument.Meter.Name == Telemetry.Name) self.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags, run));
            _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags, run));
            _listener.Start();
        }

        public ConcurrentDictionary<string, double> Sums { get; } = new();

        public ConcurrentDictionary<string, int> Counts { get; } = new();

        public ConcurrentDictionary<string, double> ByOutcome { get; } = new();

        public HashSet<string> Tags { get; } = [];

        public Dictionary<string, double> Gauges()
        {
            lock (_gauges)
            {
                _gauges.Clear();
                _listener.RecordObservableInstruments();
                return _gauges.ToDictionary();
            }
        }

        public void Dispose() => _listener.Dispose();

        private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags, string run)
        {
            var known = new Dictionary<string, string?>();
            foreach (var tag in tags) known[tag.Key] = tag.Value as string;
            if (known.GetValueOrDefault("run") != run) return;
            lock (Tags) Tags.UnionWith(known.Keys);
            if (instrument.IsObservable)
            {
                _gauges[instrument.Name + (known.GetValueOrDefault("phase") is { } phase ? " " + phase : "")] = value;
                return;
            }

            Sums.AddOrUpdate(instrument.Name, value, (_, sum) => sum + value);
            Counts.AddOrUpdate(instrument.Name, 1, static (_, count) => count + 1);
            if (known.GetValueOrDefault("outcome") is { } outcome)
                ByOutcome.AddOrUpdate($"{outcome} {known["phase"]}", value, (_, sum) => sum + value);
        }
    }

    /// <summary>The spans of one run that have ended, and how long its rounds took.</summary>
    private sealed class HeardTraces : IDisposable
    {
        private readonly ActivityListener _listener;
        private readonly MeterListener _meter = new();
        private readonly ConcurrentBag<Activity> _ended = [];

        public HeardTraces(string run)
        {
            _listener = new ActivityListener
            {
                ShouldListenTo = static source => source.Name == Telemetry.Name,
                Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
                ActivityStopped = activity =>
                {
                    if (activity.GetTagItem("run") as string == run) _ended.Add(activity);
                },
            };
            ActivitySource.AddActivityListener(_listener);
            _meter.InstrumentPublished = static (instrument, self) =>
            {
                if (instrument == Telemetry.RoundDuration) self.EnableMeasurementEvents(instrument);
            };
            _meter.SetMeasurementEventCallback<double>((_, value, tags, _) =>
            {
                if (tags[0].Value as string == run) Seconds[Seconds.Count] = value;
            });
            _meter.Start();
        }

        public ConcurrentDictionary<int, double> Seconds { get; } = new(); // rounds are committed in order

        public IReadOnlyList<Activity> Of(int round) => [.. _ended.Where(span =>
            string.Format(CultureInfo.InvariantCulture, "{0}", span.GetTagItem("round")) == round.ToString(CultureInfo.InvariantCulture))];

        public void Dispose()
        {
            _listener.Dispose();
            _meter.Dispose();
        }
    }
}

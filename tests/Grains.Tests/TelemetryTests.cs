using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using FedRLora.Abstractions;

namespace FedRLora.Grains.Tests;

public sealed class TelemetryTests
{
    [Fact]
    public async Task A_run_counts_its_rounds_reports_and_bytes_and_traces_its_stages()
    {
        var job = $"telemetry-{Guid.NewGuid():n}";
        var sums = new ConcurrentDictionary<string, double>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, self) =>
        {
            if (instrument.Meter.Name == Telemetry.Name) self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        listener.SetMeasurementEventCallback<double>((instrument, _, tags, _) => Add(instrument, 1, tags));
        listener.Start();
        var activities = new ConcurrentBag<string>();
        using var traces = new ActivityListener
        {
            ShouldListenTo = static source => source.Name == Telemetry.Name,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = activity =>
            {
                if (activity.GetTagItem("job") as string == job) activities.Add(activity.OperationName);
            },
        };
        ActivitySource.AddActivityListener(traces);
        await using var federation = await TestFederation.StartAsync();

        await federation.RunAsync(job, TestFederation.Plan(clients: 3, rounds: 2),
            new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token);

        Assert.Equal(3, sums["fedrlora.rounds"]); // the start and two rounds
        Assert.Equal(3, sums["fedrlora.round.duration"]);
        Assert.Equal(15, sums["fedrlora.client.reports"]); // three scorings of three clients, two trainings
        Assert.Equal(6, sums["fedrlora.training.duration"]);
        Assert.True(sums["fedrlora.client.sent"] > 6 * 16 && sums["fedrlora.client.received"] > 0);
        Assert.Equal(["fedrlora.aggregate", "fedrlora.commit", "fedrlora.confirm", "fedrlora.evaluate", "fedrlora.round", "fedrlora.train"],
            activities.Distinct().Order(StringComparer.Ordinal));

        void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            foreach (var tag in tags)
            {
                if (tag.Key == "job" && tag.Value as string == job) sums.AddOrUpdate(instrument.Name, value, (_, sum) => sum + value);
            }
        }
    }
}

using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace FedRLora.Abstractions;

/// <summary>
/// The one activity source and meter; every instrument with its unit, its tags and, of a histogram, its buckets. None carries data rows.
/// Whose client, site or run a number is of says its tags; whose silo, the resource.
/// </summary>
public static class Telemetry
{
    /// <summary>Name of the source and the meter.</summary>
    public const string Name = "FedRLora";

    /// <summary>Tags: the run's name, a site, a client (only where it is asked for), a phase of a round, how something ended.</summary>
    public const string Run = "run", Site = "site", Client = "client", Phase = "phase", Stage = "stage", Outcome = "outcome", Task = "task";

    /// <summary>Values of <see cref="Outcome"/>.</summary>
    public const string Ok = "ok", Failed = "failed";

    // A round takes from a hundredth of a second, without training, to hours.
    private static readonly InstrumentAdvice<double> OfRounds = new()
    {
        HistogramBucketBoundaries =
            [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200],
    };

    // From a wait for a free device, which is microseconds, to a group's training of a large model.
    private static readonly InstrumentAdvice<double> OfWork = new()
    {
        HistogramBucketBoundaries =
            [0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200],
    };

    // From a file that is looked for in memory to a service that is tried again for half a minute.
    private static readonly InstrumentAdvice<double> OfStores = new()
    {
        HistogramBucketBoundaries =
            [0.000005, 0.00002, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    };

    /// <summary>Activities: <c>fedrlora.round</c> and what is below it; docs/telemetry.md names them.</summary>
    public static ActivitySource Source { get; } = new(Name);

    private static readonly Meter Meter = new(Name);

    /// <summary>Committed rounds; tag run.</summary>
    public static Counter<long> Rounds { get; } = Meter.CreateCounter<long>("fedrlora.rounds", "{round}", "Committed rounds");

    /// <summary>Attempts at rounds that were given up and begun again; tag run.</summary>
    public static Counter<long> Retries { get; } =
        Meter.CreateCounter<long>("fedrlora.round.retries", "{attempt}", "Attempts at a round that were begun again");

    /// <summary>Duration of a committed round; tag run.</summary>
    public static Histogram<double> RoundDuration { get; } = Meter.CreateHistogram(
        "fedrlora.round.duration", "s", "From the selection of a round to its commit", tags: null, OfRounds);

    /// <summary>Duration of a part of a round at the coordinator; tags run, stage (select, send, aggregate, evaluate, commit).</summary>
    public static Histogram<double> StageDuration { get; } = Meter.CreateHistogram(
        "fedrlora.round.stage.duration", "s", "Part of a round at the coordinator", tags: null, OfWork);

    /// <summary>Client reports as the coordinator hears them; tags run, site, phase (train, evaluate), outcome (ok, failed).</summary>
    public static Counter<long> Reports { get; } = Meter.CreateCounter<long>("fedrlora.client.reports", "{report}", "Reports of clients");

    /// <summary>Training steps; tags run, site, task.</summary>
    public static Counter<long> Steps { get; } = Meter.CreateCounter<long>("fedrlora.training.steps", "{step}", "Optimizer steps");

    /// <summary>Tokens that went through a training step; tags run, site, task.</summary>
    public static Counter<long> Tokens { get; } =
        Meter.CreateCounter<long>("fedrlora.training.tokens", "{token}", "Tokens of training batches");

    /// <summary>Duration of a group's training, without the time that it waited; tags run, site.</summary>
    public static Histogram<double> TrainingDuration { get; } = Meter.CreateHistogram(
        "fedrlora.training.duration", "s", "A group's training in a round", tags: null, OfWork);

    /// <summary>How long a group's training waited at its site for a place and for the device; tags run, site.</summary>
    public static Histogram<double> TrainingWait { get; } = Meter.CreateHistogram(
        "fedrlora.training.wait", "s", "A group's wait for the device in a round", tags: null, OfWork);

    /// <summary>How long a group's states took to be read before it trained or was scored; tags run, site.</summary>
    public static Histogram<double> LoadDuration { get; } = Meter.CreateHistogram(
        "fedrlora.client.load.duration", "s", "Reading a group's states before its work", tags: null, OfWork);

    /// <summary>How long a client's update, head and optimizer state took to be written; tags run, site.</summary>
    public static Histogram<double> UploadDuration { get; } = Meter.CreateHistogram(
        "fedrlora.client.upload.duration", "s", "Writing a client's update and states", tags: null, OfWork);

    /// <summary>Duration of a group's scoring, with its wait; tags run, site.</summary>
    public static Histogram<double> ScoringDuration { get; } = Meter.CreateHistogram(
        "fedrlora.scoring.duration", "s", "A group's scoring in a round, its wait for the device included", tags: null, OfWork);

    /// <summary>Bytes that left a client; tags run, site.</summary>
    public static Counter<long> BytesSent { get; } =
        Meter.CreateCounter<long>("fedrlora.client.sent", "By", "Update bytes written by clients");

    /// <summary>Bytes of shared state read by clients; tags run, site.</summary>
    public static Counter<long> BytesReceived { get; } =
        Meter.CreateCounter<long>("fedrlora.client.received", "By", "Shared-state bytes read by clients");

    /// <summary>
    /// Duration of a call to a store, until its answer begins; tags store (job, site), operation (read, write, list, delete, sync).
    /// </summary>
    public static Histogram<double> StoreDuration { get; } = Meter.CreateHistogram(
        "fedrlora.store.duration", "s", "Call to a blob store, until its answer begins", tags: null, OfStores);

    /// <summary>Calls to a store that failed because it could not be used; tags store, operation.</summary>
    public static Counter<long> StoreFailures { get; } =
        Meter.CreateCounter<long>("fedrlora.store.failures", "{call}", "Calls to a store that could not be used");

    // Gauges of a run are there from its beginning to its end, at the silo that coordinates it; see OpenRuns.

    /// <summary>The open round; tag run.</summary>
    public static ObservableGauge<long> OpenRound { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.open_round", static () => OpenRuns.Measure(static now => now.Round), "{round}", "The open round");

    /// <summary>The last committed round, -1 before round 0; tag run.</summary>
    public static ObservableGauge<long> CommittedRound { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.committed_round", static () => OpenRuns.Measure(static now => now.Committed), "{round}", "The last committed round");

    /// <summary>Unix time of the last commit, or of when the run was begun, resumed or taken up at this silo; tag run.</summary>
    public static ObservableGauge<long> LastCommit { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.last_commit.timestamp", static () => OpenRuns.Measure(static now => now.LastCommit.ToUnixTimeSeconds()), "s",
        "Unix time of the last commit, or of when the run was begun, resumed or taken up since");

    /// <summary>Clients that the open phase waits for; tag run.</summary>
    public static ObservableGauge<long> Waiting { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.clients_waited_for", static () => OpenRuns.Measure(static now => now.Waiting), "{client}",
        "Clients that the open phase of the round waits for");

    /// <summary>Sites of the run without a live silo; tag run.</summary>
    public static ObservableGauge<long> AbsentSites { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.sites_absent", static () => OpenRuns.Measure(static now => now.AbsentSites), "{site}",
        "Sites of the run without a live silo");

    /// <summary>1 for the phase that the run is in and 0 for every other one; tags run, phase.</summary>
    public static ObservableGauge<long> RunPhase { get; } = Meter.CreateObservableGauge(
        "fedrlora.run.phase", OpenRuns.MeasurePhases, unit: null, "1 for the phase that the run is in, 0 for every other one");

    // Of clients one by one, only where they are asked for (silo --client-metrics): three series for each client.

    /// <summary>Series that a client has of its own.</summary>
    public const int SeriesOfClient = 3;

    /// <summary>A client's last time from assignment to report of a training; tags run, client.</summary>
    public static ObservableGauge<double> ClientDuration { get; } = Meter.CreateObservableGauge(
        "fedrlora.client.last_duration", static () => OpenRuns.MeasureClients(static client => client.Seconds), "s",
        "A client's last training, from its work being sent to its report");

    /// <summary>A client's last mean training loss; tags run, client.</summary>
    public static ObservableGauge<double> ClientLoss { get; } = Meter.CreateObservableGauge(
        "fedrlora.client.last_loss", static () => OpenRuns.MeasureClients(static client => client.Loss), unit: null,
        "A client's mean loss in its last training");

    /// <summary>A client's last score; tags run, client.</summary>
    public static ObservableGauge<double> ClientScore { get; } = Meter.CreateObservableGauge(
        "fedrlora.client.last_score", static () => OpenRuns.MeasureClients(static client => client.Score), unit: null,
        "A client's last score");

    /// <summary>Memory that the process has; no tag.</summary>
    public static ObservableGauge<long> Memory { get; } = Meter.CreateObservableGauge(
        "fedrlora.silo.memory", static () => Environment.WorkingSet, "By", "Resident memory of the silo's process");

    /// <summary>Memory that the process may have: its container's, or the machine's; no tag.</summary>
    public static ObservableGauge<long> MemoryLimit { get; } = Meter.CreateObservableGauge(
        "fedrlora.silo.memory_limit", static () => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, "By",
        "Memory that the silo's process may have");

    /// <summary>Processor time of the process; no tag.</summary>
    public static ObservableCounter<double> ProcessorTime { get; } = Meter.CreateObservableCounter(
        "fedrlora.silo.processor", static () => Environment.CpuUsage.TotalTime.TotalSeconds, "s", "Processor time of the silo's process");

    /// <summary>The tag with its value.</summary>
    public static KeyValuePair<string, object?> Of(string tag, string value) => new(tag, value);

    /// <summary>The phase as a tag has it.</summary>
    public static string PhaseName(Messages.RoundPhase phase) => phase == Messages.RoundPhase.Train ? "train" : "evaluate";

    /// <summary>Makes the series of a run at its coordinator, at 0: what has not happened yet is not unknown.</summary>
    public static void Begin(string run, IEnumerable<string> sites)
    {
        Rounds.Add(0, Of(Run, run));
        Retries.Add(0, Of(Run, run));
        foreach (var site in sites)
        {
            foreach (var phase in Enum.GetValues<Messages.RoundPhase>())
            {
                foreach (var outcome in new[] { Ok, Failed })
                    Reports.Add(0, Of(Run, run), Of(Site, site), Of(Phase, PhaseName(phase)), Of(Outcome, outcome));
            }
        }
    }

    /// <summary>Makes the series of a run at a site, at 0.</summary>
    public static void BeginSite(string run, string site, IEnumerable<string> tasks)
    {
        BytesSent.Add(0, Of(Run, run), Of(Site, site));
        BytesReceived.Add(0, Of(Run, run), Of(Site, site));
        foreach (var task in tasks)
        {
            Steps.Add(0, Of(Run, run), Of(Site, site), Of(Task, task));
            Tokens.Add(0, Of(Run, run), Of(Site, site), Of(Task, task));
        }
    }
}

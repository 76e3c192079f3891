using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace FedRLora.Abstractions;

/// <summary>The one activity source and meter; every instrument with its unit. None carries data rows.</summary>
public static class Telemetry
{
    /// <summary>Name of the source and the meter.</summary>
    public const string Name = "FedRLora";

    /// <summary>Activities: fedrlora.round, fedrlora.train, fedrlora.evaluate, fedrlora.aggregate, fedrlora.commit.</summary>
    public static ActivitySource Source { get; } = new(Name);

    private static readonly Meter Meter = new(Name);

    /// <summary>Committed rounds; tag job.</summary>
    public static Counter<long> Rounds { get; } = Meter.CreateCounter<long>("fedrlora.rounds", "{round}", "Committed rounds");

    /// <summary>Duration of a committed round; tag job.</summary>
    public static Histogram<double> RoundDuration { get; } =
        Meter.CreateHistogram<double>("fedrlora.round.duration", "s", "First assignment to commit");

    /// <summary>Client reports; tags job, phase, outcome.</summary>
    public static Counter<long> Reports { get; } = Meter.CreateCounter<long>("fedrlora.client.reports", "{report}", "Reports of clients");

    /// <summary>Training steps; tag task.</summary>
    public static Counter<long> Steps { get; } = Meter.CreateCounter<long>("fedrlora.training.steps", "{step}", "Optimizer steps");

    /// <summary>Tokens that went through a training step; tag task.</summary>
    public static Counter<long> Tokens { get; } =
        Meter.CreateCounter<long>("fedrlora.training.tokens", "{token}", "Tokens of training batches");

    /// <summary>Duration of a group's training, without the time that it waited; tag job.</summary>
    public static Histogram<double> TrainingDuration { get; } =
        Meter.CreateHistogram<double>("fedrlora.training.duration", "s", "A group's training in a round");

    /// <summary>How long a group's training waited at its site for a place and for the device; tag job.</summary>
    public static Histogram<double> TrainingWait { get; } =
        Meter.CreateHistogram<double>("fedrlora.training.wait", "s", "A group's wait for the device in a round");

    /// <summary>Bytes that left a client; tags job, client.</summary>
    public static Counter<long> BytesSent { get; } =
        Meter.CreateCounter<long>("fedrlora.client.sent", "By", "Update bytes written by clients");

    /// <summary>Bytes of shared state read by clients; tag job.</summary>
    public static Counter<long> BytesReceived { get; } =
        Meter.CreateCounter<long>("fedrlora.client.received", "By", "Shared-state bytes read by clients");
}

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The whole job as one immutable record. It is read from YAML by <c>PlanReader</c> and checked as a whole by <c>PlanValidator</c>.
/// </summary>
public sealed record FederationPlan
{
    /// <summary>What the run is called; letters, digits, dot, dash and underscore.</summary>
    public required string Name { get; init; }

    /// <summary>The seed of every draw.</summary>
    public ulong Seed { get; init; }

    /// <summary>Whether anything is shared; <see cref="Sharing.None"/> is the local-only reference of any plan.</summary>
    public Sharing Sharing { get; init; } = Sharing.Method;

    /// <summary>The frozen base model.</summary>
    public required ModelSpec Model { get; init; }

    /// <summary>The method.</summary>
    public AdapterSpec Adapter { get; init; } = AdapterCatalog.Methods["r-lora-federated"].Spec;

    /// <summary>Local training.</summary>
    public TrainingSpec Training { get; init; } = new();

    /// <summary>Rounds, selection, server optimizer, deadline and quorum.</summary>
    public StrategySpec Strategy { get; init; } = new();

    /// <summary>What is known of a task before its rows are read; a task that is not here is known by its clients alone.</summary>
    public IReadOnlyDictionary<string, TaskSpec> Tasks { get; init; } = new Dictionary<string, TaskSpec>();

    /// <summary>Everybody who trains.</summary>
    public required IReadOnlyList<ClientSpec> Clients { get; init; }

    /// <summary>Scoring.</summary>
    public EvaluationSpec Evaluation { get; init; } = new();

    /// <summary>What is written besides the committed rounds.</summary>
    public CheckpointSpec Checkpoints { get; init; } = new();

    /// <summary>What is recorded of single steps; nothing by default.</summary>
    public TelemetrySpec Telemetry { get; init; } = new();

    /// <summary>How the folders are kept that the run is stored in.</summary>
    public StoreSpec Store { get; init; } = new();

    /// <summary>What goes wrong on purpose; nothing by default.</summary>
    public IReadOnlyList<FaultSpec> Faults { get; init; } = [];

    /// <summary>The method as it is in a round.</summary>
    /// <param name="round">From 1; 0 for the start.</param>
    public AdapterSpec AdapterAt(int round) => Adapter.At(round, Strategy.Rounds);

    /// <summary>The statistics that clients send beside what training changed; none where nothing is aggregated.</summary>
    public IReadOnlyList<StatisticFamily> StatisticFamilies => Adapter.Statistics;
}

/// <summary>Whether anything is shared.</summary>
public enum Sharing
{
    /// <summary>What the method shares.</summary>
    Method,

    /// <summary>Nothing: every tensor of scope Job or Task becomes one of scope Client, with the same rounds, steps and seeds.</summary>
    None,
}

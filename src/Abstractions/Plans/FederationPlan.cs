namespace FedRLora.Abstractions.Plans;

/// <summary>The whole job as one immutable record. It is read from YAML by <c>PlanReader</c> and checked as a whole by <c>PlanValidator</c>.</summary>
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

    /// <summary>How the folders are kept that the run is stored in.</summary>
    public StoreSpec Store { get; init; } = new();

    /// <summary>What goes wrong on purpose; nothing by default.</summary>
    public IReadOnlyList<FaultSpec> Faults { get; init; } = [];
}

/// <summary>Whether anything is shared.</summary>
public enum Sharing
{
    /// <summary>What the method shares.</summary>
    Method,

    /// <summary>Nothing: every tensor of scope Job becomes one of scope Client, with the same rounds, steps and seeds.</summary>
    None,
}

/// <summary>The frozen base model.</summary>
public sealed record ModelSpec
{
    /// <summary>A Hugging Face folder, relative to the plan's folder (simulate) or to the silo's root.</summary>
    public required string Path { get; init; }

    /// <summary>How the frozen weights lie in memory; what is computed is float32 whatever they are stored as.</summary>
    public WeightStorage Storage { get; init; }
}

/// <summary>The element type of frozen weights in memory.</summary>
public enum WeightStorage
{
    /// <summary>Four bytes; a float32 file is not even copied.</summary>
    Float32,

    /// <summary>Two bytes, the range of float32; a bfloat16 file is not even copied.</summary>
    Bfloat16,

    /// <summary>Two bytes, more digits in a smaller range; a float16 file is not even copied.</summary>
    Float16,
}

/// <summary>How the learning rate moves over all steps of the run (rounds times steps).</summary>
public enum Schedule
{
    /// <summary>Constant after warm-up.</summary>
    Constant,

    /// <summary>Linear to zero after warm-up.</summary>
    Linear,

    /// <summary>Half a cosine to zero after warm-up.</summary>
    Cosine,
}

/// <summary>What happens to AdamW's moments between rounds.</summary>
public enum Moments
{
    /// <summary>Moments of tensors that stay with the client are kept, those of aggregated tensors are reset (METHODS-CORE 7.4, trap 11).</summary>
    KeepHeads,

    /// <summary>All moments are reset every round, as FedIT does.</summary>
    Reset,
}

/// <summary>Local training: AdamW on completion tokens.</summary>
public sealed record TrainingSpec
{
    /// <summary>Optimizer steps of a client in a round.</summary>
    public int Steps { get; init; } = 20;

    /// <summary>Rows in a batch.</summary>
    public int BatchSize { get; init; } = 8;

    /// <summary>Tokens of prompt and completion; longer rows lose the front of their prompt.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Peak learning rate. The default suits small models; those of billions of parameters take a tenth of it or less.</summary>
    public double LearningRate { get; init; } = 5e-3;

    /// <summary>Steps of linear warm-up at the start of the run; null for half of the first round, at most 20.</summary>
    public int? WarmupSteps { get; init; }

    /// <summary>
    /// Steps of warm-up of a client with so many steps in a round. More rounds change nothing in it, so a run can be extended.
    /// </summary>
    public int WarmupOf(int steps) => WarmupSteps ?? Math.Min(20, steps / 2);

    /// <summary>How the learning rate moves.</summary>
    public Schedule Schedule { get; init; } = Schedule.Cosine;

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; init; }

    /// <summary>AdamW's beta1.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's beta2.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>AdamW's epsilon.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Largest joint L2 norm of a step's gradient; 0 turns clipping off.</summary>
    public double ClipNorm { get; init; } = 1.0;

    /// <summary>Steps at the start of a round that train only tensors of scope Client (METHODS-CORE 7.4, trap 12); part of <see cref="Steps"/>.</summary>
    public int WarmHeadSteps { get; init; }

    /// <summary>What happens to AdamW's moments between rounds.</summary>
    public Moments Moments { get; init; } = Moments.KeepHeads;

    /// <summary>
    /// Clients of a site trained together; null leaves it to the shapes of model and plan, never to the machine: the choice is part of a
    /// run's engine fingerprint.
    /// </summary>
    public int? GroupSize { get; init; }

    /// <summary>
    /// Megabytes of activations and gradients that one pass may keep: a group whose batches need more goes through the base in
    /// several. What libtorch keeps beside them, of attention, layer norms, GELU and DoRA, is not counted.
    /// </summary>
    public int PassMemoryMb { get; init; } = 4096;

    /// <summary>Keeps only the input of each layer and computes the layer again in the backward pass: less memory, a third more time.</summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>
    /// Threads of a matrix product; bits depend on it. With one, a silo trains as many groups side by side as it has processors. 0 takes
    /// the machine's processor count, and bits then depend on the machine.
    /// </summary>
    public int Threads { get; init; } = 1;
}

/// <summary>How the cohort is drawn.</summary>
public enum SelectionRule
{
    /// <summary>Every client, every round.</summary>
    All,

    /// <summary>A uniform draw without replacement.</summary>
    Uniform,
}

/// <summary>Selection of the cohort.</summary>
public sealed record SelectionSpec
{
    /// <summary>The rule.</summary>
    public SelectionRule Rule { get; init; } = SelectionRule.All;

    /// <summary>Share of clients, in (0, 1]; for <see cref="SelectionRule.Uniform"/>.</summary>
    public double Fraction { get; init; } = 1.0;

    /// <summary>
    /// Over-selection, at least 1: so many times the fraction's clients are asked, and the round closes with the first that make up
    /// the fraction (arXiv 1902.01046, section 2.2).
    /// </summary>
    public double Overselect { get; init; } = 1.0;
}

/// <summary>What closes a round.</summary>
public enum TriggerRule
{
    /// <summary>The cohort has reported, or the deadline passed with the quorum reached.</summary>
    Synchronous,

    /// <summary>A buffer of updates is full; clients go on from the state they started from, however old (FedBuff, arXiv 2106.06639).</summary>
    Buffered,
}

/// <summary>When a round closes.</summary>
public sealed record TriggerSpec
{
    /// <summary>The rule.</summary>
    public TriggerRule Rule { get; init; } = TriggerRule.Synchronous;

    /// <summary>Usable updates that close a buffered round, K in FedBuff.</summary>
    public int BufferSize { get; init; } = 10;

    /// <summary>Clients at work at the same time in buffered rounds; null for every available one.</summary>
    public int? Concurrency { get; init; }

    /// <summary>An update of staleness t counts (1 + t)^-a; 0.5 is FedBuff's, 0 counts every update alike.</summary>
    public double StalenessExponent { get; init; } = 0.5;

    /// <summary>Work that began more than so many rounds ago is given up; null never.</summary>
    public int? MaxStaleness { get; init; }
}

/// <summary>How long a client may take, learned from its own past rounds.</summary>
public sealed record TimeBudgetSpec
{
    /// <summary>Multiple of its usual time, from 1, after which a round no longer waits for a client, if the quorum holds without it.</summary>
    public double Factor { get; init; } = 3.0;

    /// <summary>The shortest budget.</summary>
    public TimeSpan AtLeast { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>What happens to a client whose updates are refused again and again.</summary>
public sealed record QuarantineSpec
{
    /// <summary>Refused updates in a row after which a client is no longer selected.</summary>
    public int After { get; init; } = 3;

    /// <summary>Rounds it is left out; null for the rest of the run.</summary>
    public int? Rounds { get; init; }
}

/// <summary>What to do when a site has no live silo left.</summary>
public enum SiteLoss
{
    /// <summary>Wait for it, until the deadline if one is set.</summary>
    Wait,

    /// <summary>The site leaves the round if the quorum holds, and rejoins at the next.</summary>
    Continue,
}

/// <summary>The coordinator's step on the aggregate update.</summary>
public sealed record ServerOptimizerSpec
{
    /// <summary>Name in the strategy registry; <c>sgd</c>.</summary>
    public string Rule { get; init; } = "sgd";

    /// <summary>Server learning rate.</summary>
    public double LearningRate { get; init; } = 1.0;
}

/// <summary>The round: who takes part, what closes it, what is done with the updates.</summary>
public sealed record StrategySpec
{
    /// <summary>Committed rounds of the job.</summary>
    public int Rounds { get; init; } = 10;

    /// <summary>Selection.</summary>
    public SelectionSpec Selection { get; init; } = new();

    /// <summary>Aggregation.</summary>
    public AggregationSpec Aggregation { get; init; } = new();

    /// <summary>Server optimizer.</summary>
    public ServerOptimizerSpec ServerOptimizer { get; init; } = new();

    /// <summary>When a round closes without its stragglers; none by default.</summary>
    public TimeSpan? Deadline { get; init; }

    /// <summary>Share of the cohort that must report for a round to count, in (0, 1].</summary>
    public double Quorum { get; init; } = 1.0;

    /// <summary>Tries at a round before the job stops.</summary>
    public int MaxAttempts { get; init; } = 3;

    /// <summary>What to do when a site is gone.</summary>
    public SiteLoss SiteLoss { get; init; } = SiteLoss.Wait;

    /// <summary>What closes a round.</summary>
    public TriggerSpec Trigger { get; init; } = new();

    /// <summary>A time budget for each client; null waits for all.</summary>
    public TimeBudgetSpec? TimeBudget { get; init; }

    /// <summary>When a client is left out; null never.</summary>
    public QuarantineSpec? Quarantine { get; init; }

    /// <summary>How often a client tries its work again by itself before it reports a failure.</summary>
    public int ClientRetries { get; init; } = 1;
}

/// <summary>What a plan says of a task.</summary>
public sealed record TaskSpec
{
    /// <summary>
    /// Its labels, each with the answers that stand for it: none where they are those that the rows give it, or the label itself. Null
    /// where the labels are those of the rows.
    /// </summary>
    public IReadOnlyList<LabelSpec>? Labels { get; init; }
}

/// <summary>A label of a task.</summary>
/// <param name="Name">As rows give it.</param>
/// <param name="Answers">Completions that stand for it; empty for those of the rows.</param>
public sealed record LabelSpec(string Name, IReadOnlyList<string> Answers);

/// <summary>A participant: one task at one site.</summary>
public sealed record ClientSpec
{
    /// <summary>Unique in the plan; letters, digits, dot, dash and underscore.</summary>
    public required string Id { get; init; }

    /// <summary>The task; clients of one task share a weight under <see cref="Weighting.UniformPerTask"/>.</summary>
    public required string Task { get; init; }

    /// <summary>Where the data must stay.</summary>
    public string Site { get; init; } = "local";

    /// <summary>The client's rows.</summary>
    public required DataSpec Data { get; init; }

    /// <summary>Steps in a round, instead of the plan's.</summary>
    public int? Steps { get; init; }

    /// <summary>Peak learning rate, instead of the plan's.</summary>
    public double? LearningRate { get; init; }

    /// <summary>A factor on the client's share in the mean.</summary>
    public double Weight { get; init; } = 1.0;
}

/// <summary>JSON Lines files of a client, relative to the plan's folder (simulate) or to the silo's root.</summary>
public sealed record DataSpec
{
    /// <summary>Rows to train on: prompt/completion (and label) or text/label.</summary>
    public required string Train { get; init; }

    /// <summary>Rows to score; null scores nothing.</summary>
    public string? Test { get; init; }

    /// <summary>First training row taken.</summary>
    public int Offset { get; init; }

    /// <summary>Training rows taken; null takes all from <see cref="Offset"/>.</summary>
    public int? Rows { get; init; }

    /// <summary>Deals the training labels out at random: the control that a score must not survive.</summary>
    public bool ShuffleLabels { get; init; }
}

/// <summary>How a client is scored.</summary>
public enum Metric
{
    /// <summary>Accuracy where rows carry labels, else perplexity.</summary>
    Auto,

    /// <summary>Share of rows whose own label has, of all labels, the answer of the highest completion log-likelihood.</summary>
    Accuracy,

    /// <summary>The mean over the labels of the harmonic mean of precision and recall, chosen as under <see cref="Accuracy"/>.</summary>
    MacroF1,

    /// <summary>
    /// Matthews correlation over all labels (Gorodkin 2004), chosen as under <see cref="Accuracy"/>; from -1 to 1, 0 for chance.
    /// </summary>
    Matthews,

    /// <summary>Share of rows whose greedy continuation equals the completion.</summary>
    ExactMatch,

    /// <summary>exp of the mean completion loss per token.</summary>
    Perplexity,
}

/// <summary>Scoring of the candidate state with the head each client owns.</summary>
public sealed record EvaluationSpec
{
    /// <summary>Rounds between scorings; the last round is always scored.</summary>
    public int EveryRounds { get; init; } = 1;

    /// <summary>The metric.</summary>
    public Metric Metric { get; init; } = Metric.Auto;

    /// <summary>Test rows scored, drawn over the whole file, the same in every round and run; null scores all.</summary>
    public int? MaxRows { get; init; }

    /// <summary>
    /// Tokens of a greedy continuation under <see cref="Metric.ExactMatch"/>; null as many as the longest completion needs.
    /// </summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Also runs the same clients with the same budget and nothing shared, for the final table.</summary>
    public bool LocalOnly { get; init; }
}

/// <summary>What is written besides the committed rounds.</summary>
public sealed record CheckpointSpec
{
    /// <summary>Writes every client's adapter in PEFT's layout when the run ends.</summary>
    public bool Export { get; init; } = true;

    /// <summary>Committed rounds that keep their shared state, counted from the last; at least two are kept. Null: all.</summary>
    public int? KeepLast { get; init; }

    /// <summary>Every round whose number this divides keeps its shared state and its heads, whatever <see cref="KeepLast"/> says; null: none for that reason.</summary>
    public int? KeepEvery { get; init; }
}

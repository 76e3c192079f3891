using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>Local training on completion tokens.</summary>
public sealed record TrainingSpec
{
    /// <summary>The step on a gradient. Left out of recorded values where it is AdamW, which runs from before the key had.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public LocalOptimizer Optimizer { get; init; } = LocalOptimizer.AdamW;

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

    /// <summary>
    /// Steps at the start of a round that train only tensors of scope Client or Task, so that they adapt to an aggregated A that they have
    /// not seen before they move it; part of <see cref="Steps"/>.
    /// </summary>
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

    /// <summary>
    /// Keeps only the input of each layer and computes the layer again in the backward pass: less memory, a third more time.
    /// </summary>
    public bool ActivationCheckpointing { get; init; }

    /// <summary>
    /// Threads of a matrix product; bits depend on it. With one, a silo trains as many groups side by side as it has processors. 0 takes
    /// the machine's processor count, and bits then depend on the machine.
    /// </summary>
    public int Threads { get; init; } = 1;

    /// <summary>
    /// What a step's products with frozen weights are computed in. Adapters, norms, attention, softmax, loss and the optimizer are float32
    /// whatever it is, and so is evaluation.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ComputeType Compute { get; init; } = ComputeType.Float32;

    /// <summary>Allows <see cref="Compute"/> on processors without units for it, where it is slower than float32.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool AllowSlowCompute { get; init; }
}

/// <summary>The type that both sides of a product are rounded to.</summary>
public enum ComputeType
{
    /// <summary>24 bits of precision.</summary>
    Float32,

    /// <summary>8 bits of precision, summed in float32.</summary>
    Bfloat16,
}

/// <summary>The step of local training.</summary>
public enum LocalOptimizer
{
    /// <summary>AdamW, with moments of each tensor.</summary>
    AdamW,

    /// <summary>Stochastic gradient descent without momentum: w minus rate times gradient, after the decoupled decay.</summary>
    Sgd,
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
    /// <summary>
    /// Moments of tensors that no other client moves are kept: those that stay with the client, and those of its task where it is the
    /// task's one client. Those of aggregated tensors are reset: they belong to values that the aggregate has replaced.
    /// </summary>
    KeepHeads,

    /// <summary>All moments are reset every round, as FedIT does.</summary>
    Reset,
}

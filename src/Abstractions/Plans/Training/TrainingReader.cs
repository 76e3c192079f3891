using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>training</c>.</summary>
internal static class TrainingReader
{
    private static readonly TrainingSpec Default = new();

    public static TrainingSpec Read(PlanSection plan) => plan.Section("training", Default, Training);

    private static TrainingSpec Training(PlanSection training) => new()
    {
        Optimizer = training.Choice("optimizer", Default.Optimizer),
        Steps = training.Integer("steps", Default.Steps, 1, Bounds.Rounds),
        BatchSize = training.Integer("batchSize", Default.BatchSize, 1, 65_536),
        MaxTokens = training.Integer("maxTokens", Default.MaxTokens, 2, 131_072),
        LearningRate = training.Number("learningRate", Default.LearningRate, Above(0, 10)),
        WarmupSteps = training.OptionalInteger("warmupSteps", 0, Bounds.Many),
        Schedule = training.Choice("schedule", Default.Schedule),
        WeightDecay = training.Number("weightDecay", Default.WeightDecay, Closed(0, 10)),
        Beta1 = training.Number("beta1", Default.Beta1, Below(0, 1)),
        Beta2 = training.Number("beta2", Default.Beta2, Below(0, 1)),
        Epsilon = training.Number("epsilon", Default.Epsilon, Above(0, 1)),
        ClipNorm = training.Number("clipNorm", Default.ClipNorm, Closed(0, Bounds.Many)),
        WarmHeadSteps = training.Integer("warmHeadSteps", Default.WarmHeadSteps, 0, Bounds.Rounds),
        Moments = training.Choice("moments", Default.Moments),
        GroupSize = training.IntegerOrAuto("groupSize", 1, 1024),
        PassMemoryMb = training.Integer("passMemoryMb", Default.PassMemoryMb, 1, int.MaxValue),
        ActivationCheckpointing = training.Flag("activationCheckpointing", Default.ActivationCheckpointing),
        Threads = training.Integer("threads", Default.Threads, 0, 1024),
        Compute = training.Choice("compute", Default.Compute),
        AllowSlowCompute = training.Flag("allowSlowCompute", Default.AllowSlowCompute),
    };
}

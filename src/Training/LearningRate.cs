using FedRLora.Abstractions.Plans;

namespace FedRLora.Training;

/// <summary>The learning rate over the whole run.</summary>
internal static class LearningRate
{
    /// <summary>
    /// The rate of a step: linear warm-up that reaches the peak at its last step, then the schedule, which would reach 0 one step after
    /// the last.
    /// </summary>
    /// <param name="spec">Peak, warm-up and schedule.</param>
    /// <param name="step">From 0, counted over all rounds.</param>
    /// <param name="steps">Of a round.</param>
    /// <param name="rounds">Of the run.</param>
    public static double At(TrainingSpec spec, long step, int steps, int rounds)
    {
        var (warmup, total) = (spec.WarmupOf(steps), (long)rounds * steps);
        if (step < warmup) return spec.LearningRate * (step + 1) / warmup;
        var progress = (double)(step - warmup) / Math.Max(1, total - warmup);
        return spec.LearningRate * spec.Schedule switch
        {
            Schedule.Constant => 1,
            Schedule.Linear => Math.Max(0, 1 - progress),
            Schedule.Cosine => 0.5 * (1 + Math.Cos(Math.PI * Math.Min(1, progress))),
            _ => throw new ArgumentOutOfRangeException(nameof(spec), spec.Schedule, "not a schedule"),
        };
    }
}

using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>checkpoints</c>.</summary>
internal static class CheckpointReader
{
    private static readonly CheckpointSpec Default = new();

    public static CheckpointSpec Read(PlanSection plan) => plan.Section("checkpoints", Default, Checkpoints);

    private static CheckpointSpec Checkpoints(PlanSection checkpoints) => new()
    {
        Export = checkpoints.Flag("export", Default.Export),
        KeepLast = checkpoints.OptionalInteger("keepLast", 1, int.MaxValue),
        KeepEvery = checkpoints.OptionalInteger("keepEvery", 1, int.MaxValue),
    };
}

using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>telemetry</c>.</summary>
internal static class TelemetryReader
{
    private static readonly TelemetrySpec Default = new();

    public static TelemetrySpec Read(PlanSection plan) => plan.Section("telemetry", Default, Telemetry);

    private static TelemetrySpec Telemetry(PlanSection telemetry) => new()
    {
        StepEvery = telemetry.Integer("stepEvery", Default.StepEvery, 0, int.MaxValue),
        Steps = telemetry.Choice("steps", Default.Steps),
    };
}

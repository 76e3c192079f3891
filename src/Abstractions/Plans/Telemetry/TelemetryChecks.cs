namespace FedRLora.Abstractions.Plans;

/// <summary>Whether there is something to keep where it is asked to be kept.</summary>
internal static class TelemetryChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (plan.Telemetry is { Steps: StepKeeping.Hub, StepEvery: 0 })
            yield return new("no step is recorded; give telemetry.stepEvery, or leave steps out.", ["telemetry.steps"]);
    }
}

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The rules about values that must go together, from the checks of each section. <see cref="PlanReader"/> checks each value by itself.
/// </summary>
public static class PlanValidator
{
    /// <summary>Every conflict of <paramref name="plan"/>; none if it can run.</summary>
    public static IReadOnlyList<PlanConflict> Conflicts(FederationPlan plan) =>
    [
        .. AdapterChecks.Of(plan.Adapter), .. TrainingChecks.Of(plan), .. StrategyChecks.Of(plan), .. TriggerChecks.Of(plan),
        .. ServerOptimizerChecks.Of(plan), .. StatisticChecks.Of(plan),
        .. AggregationChecks.Of(plan), .. TaskChecks.Of(plan), .. ClientChecks.Of(plan), .. EvaluationChecks.Of(plan),
        .. TelemetryChecks.Of(plan),
        .. FaultChecks.Of(plan), .. GateLossChecks.Of(plan), .. LifecycleChecks.Of(plan),
    ];
}

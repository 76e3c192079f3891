namespace FedRLora.Abstractions.Plans;

/// <summary>Whether a gate that is taught tasks has a head for each of the plan's.</summary>
internal static class GateLossChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (!plan.Adapter.Objectives.OfType<Objective.GateLoss>().Any()) yield break;
        // A task that could not be read may be one of the others.
        List<string> tasks = [.. plan.Clients.Select(static client => client.Task).Where(static task => task.Length > 0)
            .Distinct().Order(StringComparer.Ordinal)];
        if (plan.Adapter.Heads >= tasks.Count) yield break;
        yield return new(
            $"gateLoss teaches the gate a head for each task, and {plan.Adapter.Heads} heads are less than the {tasks.Count} tasks; "
            + $"the first without one is {tasks[plan.Adapter.Heads]}. Give heads: {tasks.Count} or more.",
            "adapter.heads", "adapter.objectives", "adapter.method", "clients");
    }
}

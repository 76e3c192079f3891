namespace FedRLora.Abstractions.Plans;

/// <summary>Whether a round is what statistics and a lifecycle are counted in, and control variates are gradients.</summary>
internal static class StatisticChecks
{
    private const string Objectives = "adapter.objectives";

    public static IEnumerable<PlanConflict> Of(FederationPlan plan) => [.. Buffered(plan), .. Variates(plan)];

    private static IEnumerable<PlanConflict> Buffered(FederationPlan plan)
    {
        const string Trigger = "strategy.trigger.rule";
        if (plan.Strategy.Trigger.Rule != TriggerRule.Buffered) yield break;
        if (plan.Adapter.Objectives.Where(static term => term.Statistics is not null).ToList() is [_, ..] terms)
        {
            yield return new(
                $"{Names(terms)} needs statistics of one round, and a buffer holds work that began in several; give trigger: synchronous, "
                + $"or leave {Names(terms)} out.", Objectives, Trigger);
        }

        if (plan.Adapter.Lifecycle.Count > 0)
        {
            yield return new(
                "what trains changes from round to round, and a buffer holds work that began in several; give trigger: synchronous, or "
                + "leave lifecycle out.", "adapter.lifecycle", Trigger);
        }
    }

    // (x - y) / (steps times rate) is the mean gradient of a client's round where each step is a gradient times one and the same rate.
    private static IEnumerable<PlanConflict> Variates(FederationPlan plan)
    {
        if (!plan.Adapter.Objectives.Any(static term => term is Objective.ControlVariates)) yield break;
        var training = plan.Training;
        if (training.Optimizer != LocalOptimizer.Sgd)
        {
            yield return new(
                "controlVariates takes what a round changed, over steps times rate, for a gradient, which it is not with AdamW; "
                + "give training.optimizer: sgd.", Objectives, "training.optimizer");
        }

        if (training.Schedule != Schedule.Constant)
        {
            yield return new(
                "controlVariates divides what a round changed by one learning rate, and this schedule has another in each step; "
                + "give training.schedule: constant.", Objectives, "training.schedule");
        }

        if (plan.Clients.Any(client => training.WarmupOf(client.Steps ?? training.Steps) > 0))
        {
            yield return new(
                "controlVariates divides what a round changed by one learning rate, and warm-up has another in each step; "
                + "give training.warmupSteps: 0.", Objectives, "training.warmupSteps");
        }

        if (plan.Adapter.Lifecycle.Any(static step => step.What is LifecycleAction.MergeAndRedraw))
        {
            yield return new(
                "controlVariates remembers a tensor's gradient, and mergeAndRedraw begins the tensor again; leave one of the two out.",
                Objectives, "adapter.lifecycle");
        }

        var ofTasks = plan.Adapter.Roles
            .Where(role => plan.Adapter.Tensor(role.Name) is { Scope: Scope.Task, Trains: true }).Select(static role => role.Name).ToList();
        if (ofTasks.Count > 0)
        {
            yield return new(
                $"controlVariates is of what all clients aggregate, and {string.Join(" and ", ofTasks)} is aggregated by task; give "
                + $"{string.Join(", ", ofTasks.Select(static role => $"scope{AdapterParts.Role(role).KeyEnd}: job or client"))}, or leave "
                + "controlVariates out.",
                [Objectives, .. ofTasks.SelectMany(static role => AdapterChecks.PathsOf(role, "scope")), "adapter.method"]);
        }
    }

    private static string Names(IEnumerable<Objective> terms) => string.Join(" and ", terms.Select(static term => term.Rule));
}

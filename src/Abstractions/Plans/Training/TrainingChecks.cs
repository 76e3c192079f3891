namespace FedRLora.Abstractions.Plans;

/// <summary>
/// Whether warm-up steps are a part of the steps that there are, and warm a head, which belongs to its client or its task.
/// </summary>
internal static class TrainingChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan) => [.. WarmHeads(plan), .. Warmup(plan)];

    private static IEnumerable<PlanConflict> WarmHeads(FederationPlan plan)
    {
        var training = plan.Training;
        if (training.WarmHeadSteps > training.Steps)
        {
            yield return new(
                $"{training.WarmHeadSteps} exceeds the {training.Steps} steps of a round, of which they are a part.",
                "training.warmHeadSteps", "training.steps");
        }

        for (var i = 0; i < plan.Clients.Count; i++)
        {
            if (plan.Clients[i].Steps is { } steps && training.WarmHeadSteps > steps)
            {
                yield return new(
                    $"{steps} steps are fewer than the {training.WarmHeadSteps} of training.warmHeadSteps, which are a part of them.",
                    ClientChecks.Path(i, "steps"), "training.warmHeadSteps");
            }
        }

        var trainsHead = plan.Adapter.Tensors.Values.Any(static tensor => tensor is { Trains: true, IsHead: true });
        if (training.WarmHeadSteps > 0 && !trainsHead)
        {
            yield return new(
                "no trained tensor stays with its client or its task, so there is no head to warm; "
                + "give warmHeadSteps: 0, or scopeB: client or task.",
                [
                    "training.warmHeadSteps", .. AdapterParts.Roles.SelectMany(static role => AdapterChecks.PathsOf(role.Name, "scope")),
                    "adapter.method",
                ]);
        }
    }

    private static IEnumerable<PlanConflict> Warmup(FederationPlan plan)
    {
        var (training, rounds) = (plan.Training, plan.Strategy.Rounds);
        var total = (long)rounds * training.Steps;
        if (training.WarmupSteps > total && plan.Clients.Any(static client => client.Steps is null))
        {
            yield return new(
                $"{training.WarmupSteps} exceeds the run's {total} steps ({rounds} rounds of {training.Steps}).",
                "training.warmupSteps", "training.steps", "strategy.rounds");
        }

        for (var i = 0; i < plan.Clients.Count; i++)
        {
            if (plan.Clients[i].Steps is { } own && training.WarmupSteps > (long)rounds * own)
            {
                yield return new(
                    $"{own} steps in {rounds} rounds are fewer than the {training.WarmupSteps} of training.warmupSteps: "
                    + "the rate would end below its peak.",
                    ClientChecks.Path(i, "steps"), "training.warmupSteps", "strategy.rounds");
            }
        }
    }
}

namespace FedRLora.Abstractions.Plans;

/// <summary>Whether buffered rounds can fill their buffer, and nothing is asked of them that only synchronous ones do.</summary>
internal static class TriggerChecks
{
    private const string Rule = "strategy.trigger.rule";

    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (plan.Strategy.Trigger.Rule == TriggerRule.Buffered)
            return [.. Buffer(plan), .. Buffered(plan)];
        return plan.Strategy.Trigger == new TriggerSpec()
            ? []
            : [new("bufferSize, concurrency, stalenessExponent and maxStaleness belong to rule: buffered.", "strategy.trigger", Rule)];
    }

    private static IEnumerable<PlanConflict> Buffer(FederationPlan plan)
    {
        var trigger = plan.Strategy.Trigger;
        var concurrency = trigger.Concurrency ?? plan.Clients.Count;
        if (concurrency > plan.Clients.Count)
        {
            yield return new(
                $"{concurrency} clients cannot be at work, the plan has {plan.Clients.Count}.",
                "strategy.trigger.concurrency", "clients");
        }
        else if (trigger.BufferSize > concurrency)
        {
            yield return new(
                $"a buffer of {trigger.BufferSize} is never full while {concurrency} clients are at work; "
                + $"give bufferSize: {concurrency} or less.",
                "strategy.trigger.bufferSize", "strategy.trigger.concurrency", "clients");
        }
    }

    private static IEnumerable<PlanConflict> Buffered(FederationPlan plan)
    {
        var (strategy, trigger) = (plan.Strategy, plan.Strategy.Trigger);
        if (strategy.Selection is not { Rule: SelectionRule.All, Fraction: 1.0, Overselect: 1.0 })
        {
            yield return new(
                "buffered rounds draw from the idle clients up to trigger.concurrency; leave selection out.",
                "strategy.selection", Rule);
        }

        if (strategy is { Deadline: not null, Quorum: >= 1 })
        {
            yield return new(
                "a deadline closes a buffered round with what has come, which quorum: 1 forbids; give a quorum below 1, or no deadline.",
                "strategy.deadline", "strategy.quorum", Rule);
        }

        if (strategy.TimeBudget is not null)
        {
            yield return new(
                "buffered rounds wait for nobody; leave timeBudget out, or give trigger.maxStaleness.",
                "strategy.timeBudget", Rule);
        }

        if (plan.Checkpoints.KeepLast is { } kept && (trigger.MaxStaleness is not { } oldest || oldest >= kept))
        {
            yield return new(
                $"{kept} kept rounds must exceed the staleness of any work that goes on; give trigger.maxStaleness: {kept - 1} or less.",
                "checkpoints.keepLast", "strategy.trigger.maxStaleness", Rule);
        }

        if (plan.Training.GroupSize > 1)
        {
            yield return new(
                "clients of buffered rounds start at different times, so none are trained together; give groupSize: 1.",
                "training.groupSize", Rule);
        }
    }
}

namespace FedRLora.Abstractions.Plans;

/// <summary>Whether what is asked of a round can happen under its selection and its quorum.</summary>
internal static class StrategyChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        var strategy = plan.Strategy;
        if (strategy.Selection is { Rule: SelectionRule.All, Fraction: < 1 })
        {
            yield return new(
                "a fraction needs rule: uniform; rule all takes every client.",
                "strategy.selection.fraction", "strategy.selection.rule");
        }

        if (strategy.Selection is { Rule: SelectionRule.All, Overselect: > 1 })
        {
            yield return new(
                "there is nobody to select beyond every client; give rule: uniform and a fraction, or overselect: 1.",
                "strategy.selection.overselect", "strategy.selection.rule");
        }

        if (strategy is { TimeBudget: not null, Quorum: >= 1 })
        {
            yield return new(
                "a round waits for every client while quorum is 1, whatever its time budget; give a quorum below 1.",
                "strategy.timeBudget", "strategy.quorum");
        }

        if (strategy.SiteLoss == SiteLoss.Continue && strategy.Quorum >= 1)
        {
            yield return new(
                "a round cannot go on without a site while quorum is 1; give a quorum below 1, or siteLoss: wait.",
                "strategy.siteLoss", "strategy.quorum");
        }
    }
}

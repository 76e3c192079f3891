using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Selection;

namespace FedRLora.Federation;

/// <summary>Every part of a strategy by its name in the plan.</summary>
public static class StrategyRegistry
{
    /// <summary>Selections.</summary>
    public static IReadOnlyDictionary<SelectionRule, Func<SelectionSpec, IClientSelector>> Selections { get; } = new Dictionary<SelectionRule, Func<SelectionSpec, IClientSelector>>
    {
        [SelectionRule.All] = static _ => new AllClients(),
        [SelectionRule.Uniform] = static spec => new UniformClients(spec.Fraction),
    };

    /// <summary>The plan's selection.</summary>
    public static IClientSelector Selector(FederationPlan plan) => Selections[plan.Strategy.Selection.Rule](plan.Strategy.Selection);
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// What of shared states a round moves: the tensors that are aggregated and train in it. An update holds these, and statistics. All else of
/// a shared state goes from round to round as it is: starts that were computed from the base, merged links, masks, what trains in other
/// rounds.
/// </summary>
/// <param name="plan">The plan.</param>
/// <param name="round">The round.</param>
public sealed class MovingTensors(FederationPlan plan, int round)
{
    private readonly HashSet<string> _roles = RolesOf(plan.AdapterAt(round));

    /// <summary>Whether a round moves what has this name in a shared state.</summary>
    public bool Has(string name) => !StatisticFamily.IsStatistic(name) && _roles.Contains(TensorRole.Of(name));

    /// <summary>The part of a state that moves.</summary>
    public AdapterState Of(AdapterState state) =>
        state.Keys.All(Has) ? state : new(state.Where(array => Has(array.Key)));

    private static HashSet<string> RolesOf(AdapterSpec adapter) =>
        adapter.Roles.Select(static role => role.Name).Where(adapter.Moves).ToHashSet(StringComparer.Ordinal);
}

using Orleans.Placement;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace FedRLora.Grains.Placement;

/// <summary>Places a grain only on the silo whose name is its key.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class OnItsSiloAttribute() : PlacementFilterAttribute(new SiloPlacementStrategy());

/// <summary>The filter behind <see cref="OnItsSiloAttribute"/>.</summary>
public sealed class SiloPlacementStrategy() : PlacementFilterStrategy(order: 0);

/// <summary>Keeps the silos whose own name in the membership is the grain's key.</summary>
public sealed class SiloPlacementDirector(ISiloStatusOracle membership) : IPlacementFilterDirector
{
    /// <inheritdoc/>
    public IEnumerable<SiloAddress> Filter(PlacementFilterStrategy filterStrategy, PlacementTarget target, IEnumerable<SiloAddress> silos)
    {
        var wanted = target.GrainIdentity.Key.ToString();
        return silos.Where(silo => membership.TryGetSiloName(silo, out var name) && SiloIdentity.NameOf(name) == wanted);
    }
}

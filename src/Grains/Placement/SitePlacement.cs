using FedRLora.Abstractions;
using Orleans.Placement;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace FedRLora.Grains.Placement;

/// <summary>Places a grain only on silos of the site in its key (<c>job/site[/client]</c>).</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class OnItsSiteAttribute() : PlacementFilterAttribute(new SitePlacementStrategy());

/// <summary>The filter behind <see cref="OnItsSiteAttribute"/>.</summary>
public sealed class SitePlacementStrategy() : PlacementFilterStrategy(order: 0);

/// <summary>Keeps the silos whose name in the membership says that they serve the grain's site.</summary>
public sealed class SitePlacementDirector(ISiloStatusOracle membership) : IPlacementFilterDirector
{
    /// <inheritdoc/>
    public IEnumerable<SiloAddress> Filter(PlacementFilterStrategy filterStrategy, PlacementTarget target, IEnumerable<SiloAddress> silos)
    {
        var site = Keys.SiteOf(target.GrainIdentity.Key.ToString()!);
        return silos.Where(silo => membership.TryGetSiloName(silo, out var name) && SiloIdentity.Serves(name, site));
    }
}

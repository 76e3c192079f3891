using FedRLora.Abstractions;
using Orleans.Metadata;
using Orleans.Placement;
using Orleans.Runtime;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Runtime.Placement;

namespace FedRLora.Grains.Placement;

/// <summary>Places a grain only on silos of the site in its key (<c>job/site[/client]</c>).</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class OnItsSiteAttribute() : PlacementFilterAttribute(new SitePlacementStrategy());

/// <summary>The filter behind <see cref="OnItsSiteAttribute"/>.</summary>
public sealed class SitePlacementStrategy() : PlacementFilterStrategy(order: 0);

/// <summary>Keeps the silos whose metadata names the grain's site.</summary>
public sealed class SitePlacementDirector(ISiloMetadataCache metadata) : IPlacementFilterDirector
{
    /// <summary>Name of the metadata entry.</summary>
    public const string SiteKey = "fedrlora.site";

    /// <inheritdoc/>
    public IEnumerable<SiloAddress> Filter(PlacementFilterStrategy filterStrategy, PlacementTarget target, IEnumerable<SiloAddress> silos)
    {
        var site = Keys.SiteOf(target.GrainIdentity.Key.ToString()!);
        return silos.Where(silo => metadata.GetSiloMetadata(silo).Metadata.TryGetValue(SiteKey, out var sites) && (sites == "*" || sites.Split(',').Contains(site)));
    }
}

using Orleans.Runtime;

namespace FedRLora.Grains.Silos;

/// <summary>A silo as the membership names it.</summary>
/// <param name="Name">Its own name, the key of its <see cref="Abstractions.Grains.ISiloGrain"/>.</param>
/// <param name="Sites">The sites that it serves; "*" for all.</param>
public sealed record LiveSilo(string Name, IReadOnlyList<string> Sites);

/// <summary>The silos that the membership has for alive, as this silo sees it.</summary>
public sealed class LiveSilos(IClusterMembershipService membership)
{
    /// <summary>All of them, by name.</summary>
    public IReadOnlyList<LiveSilo> Now => [.. membership.CurrentSnapshot.Members.Values
        .Where(static member => member.Status == SiloStatus.Active)
        .Select(static member => new LiveSilo(SiloIdentity.NameOf(member.Name), SiloIdentity.SitesOf(member.Name).Split(',')))
        .OrderBy(static silo => silo.Name, StringComparer.Ordinal)];
}

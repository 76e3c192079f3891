using System.Collections.Concurrent;
using FedRLora.Abstractions.Messages;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime;

namespace FedRLora.Grains.Sites;

/// <summary>Which sites have a live silo, as the membership tells this silo, and since when a site has none.</summary>
internal sealed class SiteWatch(IClusterMembershipService membership, TimeProvider time) : BackgroundService
{
    // By the sites that a silo served, so that silos which come and go do not pile up: the last one that left.
    private readonly ConcurrentDictionary<string, (ClusterMember Silo, DateTimeOffset At)> _left = new(StringComparer.Ordinal);

    /// <summary>Those of <paramref name="sites"/> that no live silo serves, in their order.</summary>
    public IReadOnlyList<AbsentSite> Absent(IReadOnlyList<string> sites)
    {
        var members = membership.CurrentSnapshot.Members.Values;
        var served = members.Where(static member => member.Status == SiloStatus.Active)
            .SelectMany(static silo => SiloIdentity.SitesOf(silo.Name).Split(',')).ToHashSet(StringComparer.Ordinal);
        return served.Contains(SiloIdentity.EverySite)
            ? []
            : [.. sites.Where(site => !served.Contains(site)).Select(site => Absence(site, members))];
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var before = new Dictionary<SiloAddress, ClusterMember>();
        await foreach (var snapshot in membership.MembershipUpdates.WithCancellation(stoppingToken))
        {
            var now = snapshot.Members.Values.Where(static member => member.Status == SiloStatus.Active)
                .ToDictionary(static member => member.SiloAddress);
            foreach (var silo in before.Values.Where(silo => !now.ContainsKey(silo.SiloAddress)))
                _left[SiloIdentity.SitesOf(silo.Name)] = (silo, time.GetUtcNow());
            before = now;
        }
    }

    private AbsentSite Absence(string site, IEnumerable<ClusterMember> members)
    {
        var left = _left.Values.Where(silo => SiloIdentity.Serves(silo.Silo.Name, site)).OrderBy(static silo => silo.At).LastOrDefault();
        if (left.Silo is { } seen) return new(site, SiloIdentity.NameOf(seen.Name), time.GetUtcNow() - left.At);
        // It left before this silo came, or this very moment.
        var member = members
            .Where(member => SiloIdentity.Serves(member.Name, site) && member.Status is not (SiloStatus.Created or SiloStatus.Joining))
            .OrderBy(static member => member.SiloAddress.Generation).LastOrDefault();
        return new(site, member is null ? null : SiloIdentity.NameOf(member.Name), Gone: null);
    }
}

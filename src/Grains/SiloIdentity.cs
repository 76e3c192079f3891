using FedRLora.Abstractions;
using FedRLora.Abstractions.Sending;

namespace FedRLora.Grains;

/// <summary>Who this silo is.</summary>
/// <param name="Name">The silo's name.</param>
/// <param name="Sites">The sites it serves, or "*" for all (one machine).</param>
public sealed record SiloIdentity(string Name, IReadOnlyList<string> Sites)
{
    /// <summary>Stands for all sites.</summary>
    public const string EverySite = "*";

    /// <summary>What the administrators of its sites let leave them.</summary>
    public SendingLimits MaySend { get; init; } = SendingLimits.None;

    /// <summary>
    /// What the membership calls this silo: its name and its sites. Whoever knows that a silo is there then knows what may run on
    /// it; what is asked of a silo afterwards comes late, or not at all while another one is dying.
    /// </summary>
    public string MemberName => $"{Name}@{string.Join(',', Sites)}";

    /// <summary>Whether clients of a site may run here.</summary>
    public bool Serves(string site) => Sites.Contains(EverySite) || Sites.Contains(site);

    /// <summary>Makes sure that a grain of a site is at home here, whatever placed it.</summary>
    /// <param name="key">The grain's key, <c>job/site[/client]</c>.</param>
    /// <exception cref="InvalidOperationException">This silo does not serve the site.</exception>
    public void RequireSiteOf(string key)
    {
        if (!Serves(Keys.SiteOf(key)))
            throw new InvalidOperationException($"{key} was placed on silo {Name}, which does not serve site {Keys.SiteOf(key)}.");
    }

    /// <summary>Whether clients of a site may run on the silo that the membership calls <paramref name="memberName"/>.</summary>
    public static bool Serves(string memberName, string site) =>
        memberName.Contains('@', StringComparison.Ordinal)
        && new SiloIdentity(NameOf(memberName), SitesOf(memberName).Split(',')).Serves(site);

    /// <summary>The silo's own name in what the membership calls it.</summary>
    public static string NameOf(string memberName) => memberName.LastIndexOf('@') is >= 0 and var at ? memberName[..at] : memberName;

    /// <summary>Its sites there.</summary>
    public static string SitesOf(string memberName) => memberName[(memberName.LastIndexOf('@') + 1)..];
}

using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Sites;

/// <summary>
/// A site gives nothing now: no live silo serves it, or the one that was asked is gone. The same question may be answered later.
/// </summary>
public sealed class SiteUnavailableException : Exception
{
    internal SiteUnavailableException(string site, AbsentSite? absent, Exception? innerException = null)
        : base(Line(site, absent), innerException) => Site = site;

    /// <summary>The site.</summary>
    public string Site { get; }

    private static string Line(string site, AbsentSite? absent) => absent switch
    {
        null => $"site {site}: its silo does not answer; ask again in some seconds",
        { LastSilo: { } silo } => $"site {site}: no silo serves it now, the last was {silo}; start one with --site {site}",
        _ => $"site {site}: no silo serves it; start one with --site {site}",
    };
}

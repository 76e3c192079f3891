using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki;

/// <summary>
/// What a certificate says of its holder: DNS names of its subject alternative name in the trust domain. The subject's common name counts
/// for nothing (RFC 6125, section 6.4.4), nor does a name with a wildcard.
/// </summary>
public sealed record SanNames
{
    /// <summary>The trust domain unless told otherwise.</summary>
    public const string DefaultDomain = "fedrlora";

    private const int LongestLabel = 63;

    /// <summary>The sites, from <c>{site}.sites.{domain}</c>.</summary>
    public required IReadOnlyList<string> Sites { get; init; }

    /// <summary>People who steer runs, from <c>{name}.operators.{domain}</c>.</summary>
    public required IReadOnlyList<string> Operators { get; init; }

    /// <summary>People who see runs, from <c>{name}.viewers.{domain}</c>.</summary>
    public required IReadOnlyList<string> Viewers { get; init; }

    /// <summary>All other DNS names: hosts that a server is reached by.</summary>
    public required IReadOnlyList<string> Hosts { get; init; }

    /// <summary>The DNS name of a site.</summary>
    public static string OfSite(string site, string domain) => $"{site}.sites.{domain}";

    /// <summary>The DNS name of a person who steers runs.</summary>
    public static string OfOperator(string name, string domain) => $"{name}.operators.{domain}";

    /// <summary>The DNS name of a person who sees runs.</summary>
    public static string OfViewer(string name, string domain) => $"{name}.viewers.{domain}";

    /// <summary>Returns the name of a site or person that can stand in a certificate.</summary>
    /// <param name="kind">What the message calls it, for example <c>--site</c>.</param>
    /// <param name="name">The name.</param>
    /// <exception cref="BadInputException">It is no label of a DNS name, so that no certificate could hold it.</exception>
    public static string CheckLabel(string kind, string name) => IsLabel(name)
        ? name
        : throw new BadInputException($"{kind}: \"{BadInputException.Shown(name)}\" cannot stand in a certificate; "
            + $"use 1 to {LongestLabel} lower-case letters, digits and dashes, no dash at either end");

    /// <summary>Returns a trust domain.</summary>
    /// <exception cref="BadInputException">It is no DNS name.</exception>
    public static string CheckDomain(string kind, string domain) => domain.Length <= 180 && domain.Split('.').All(IsLabel)
        ? domain
        : throw new BadInputException($"{kind}: \"{BadInputException.Shown(domain)}\" is no trust domain; "
            + "use a DNS name in lower case, as fedrlora or study.example.org");

    /// <summary>What a certificate says.</summary>
    /// <param name="certificate">A certificate that is trusted: nothing is checked here.</param>
    /// <param name="domain">The trust domain.</param>
    public static SanNames Of(X509Certificate2 certificate, string domain)
    {
        var names = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>()
            .SelectMany(static extension => extension.EnumerateDnsNames()).Select(static name => name.ToLowerInvariant()).Distinct()
            .ToList();
        List<string> Under(string group) =>
        [
            .. from name in names
               where name.EndsWith($".{group}.{domain}", StringComparison.Ordinal)
               select name[..^($".{group}.{domain}".Length)] into label
               where IsLabel(label)
               select label,
        ];
        return new()
        {
            Sites = Under("sites"), Operators = Under("operators"), Viewers = Under("viewers"),
            Hosts = [.. names.Where(name => !name.EndsWith($".{domain}", StringComparison.Ordinal))],
        };
    }

    private static bool IsLabel(string text) =>
        text is [not '-', ..] && text[^1] != '-' && text.Length <= LongestLabel
        && text.All(static c => c is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-');
}

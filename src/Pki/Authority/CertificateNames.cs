using System.Formats.Asn1;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>Whose certificate it is.</summary>
public enum CertificateKind
{
    /// <summary>A silo's, of one or several sites: for servers and clients.</summary>
    Site,

    /// <summary>That of a person who steers runs: for clients.</summary>
    Operator,

    /// <summary>That of a person who sees runs: for clients.</summary>
    Viewer,
}

/// <summary>Every name that a certificate holds, of exactly one kind.</summary>
/// <param name="Kind">Whose it is.</param>
/// <param name="Holders">The sites, or the person.</param>
/// <param name="Hosts">Host names beside those of sites.</param>
/// <param name="Addresses">IP addresses beside those of sites.</param>
public sealed record CertificateNames(
    CertificateKind Kind, IReadOnlyList<string> Holders, IReadOnlyList<string> Hosts, IReadOnlyList<IPAddress> Addresses)
{
    private const int Most = 64;
    private const int LongestHost = 253;
    private const string ExtensionOid = "2.5.29.17"; // subjectAltName (RFC 5280, section 4.2.1.6)
    private static readonly (string Group, CertificateKind Kind)[] Groups =
    [
        ("sites", CertificateKind.Site), ("operators", CertificateKind.Operator), ("viewers", CertificateKind.Viewer),
    ];

    /// <summary>What the certificate may be shown for.</summary>
    public IReadOnlyList<CertificateUse> Uses =>
        Kind == CertificateKind.Site ? [CertificateUse.Server, CertificateUse.Client] : [CertificateUse.Client];

    /// <summary>The DNS names in a trust domain, those of the kind first.</summary>
    public IReadOnlyList<string> Dns(string domain) =>
        [.. Holders.Select(name => $"{name}.{Groups.Single(one => one.Kind == Kind).Group}.{domain}"), .. Hosts];

    /// <summary>In words, as <c>site north, site south; hosts hub.example.org, 10.0.0.7</c>.</summary>
    public override string ToString()
    {
        var kind = Kind.ToString().ToLowerInvariant();
        var beside = Hosts.Concat(Addresses.Select(static one => one.ToString())).ToList();
        return string.Join(", ", Holders.Select(name => $"{kind} {name}"))
            + (beside.Count > 0 ? $"; hosts {string.Join(", ", beside)}" : "");
    }

    /// <summary>Names as somebody asks for them.</summary>
    /// <param name="kind">Whose certificate it will be.</param>
    /// <param name="holders">The sites, or the person.</param>
    /// <param name="hosts">Host names and IP addresses.</param>
    /// <param name="domain">The trust domain.</param>
    /// <exception cref="BadInputException">A name cannot stand in a certificate.</exception>
    public static CertificateNames Of(CertificateKind kind, IReadOnlyList<string> holders, IReadOnlyList<string> hosts, string domain)
    {
        List<string> dns = [];
        List<IPAddress> addresses = [];
        foreach (var host in hosts)
        {
            if (IPAddress.TryParse(host, out var address)) addresses.Add(address);
            else dns.Add(host.ToLowerInvariant());
        }

        var names = new CertificateNames(kind,
            [.. holders.Select(name => SanNames.CheckLabel($"--{kind.ToString().ToLowerInvariant()}", name)).Distinct()], dns, addresses);
        return Sort("--host", names.Dns(domain), addresses, domain);
    }

    /// <summary>The names that a request asks for.</summary>
    /// <param name="file">What messages call it.</param>
    /// <param name="extensions">Its extensions.</param>
    /// <param name="domain">The trust domain.</param>
    /// <exception cref="BadInputException">They are not exactly of one kind, or there are others beside them.</exception>
    public static CertificateNames Of(string file, IEnumerable<X509Extension> extensions, string domain)
    {
        var all = extensions.ToList();
        if (all.OfType<X509BasicConstraintsExtension>().Any(static one => one.CertificateAuthority))
            throw new BadInputException($"{file}: asks to be an authority itself, which this one does not grant");
        var names = all.Where(static one => one.Oid?.Value == ExtensionOid).ToList();
        if (names.Count != 1)
            throw new BadInputException($"{file}: {(names.Count == 0 ? "asks for no name" : "asks for names twice")} "
                + "(subject alternative name); make it with: fedrlora pki request");
        var (dns, addresses) = Read(file, names[0].RawData);
        return Sort(file, dns, addresses, domain);
    }

    /// <summary>The trust domain in a certificate's own names; null where it names neither a site nor a person.</summary>
    public static string? DomainOf(X509Certificate2 certificate) => DomainIn(DnsOf(certificate));

    /// <summary>The trust domain in names; null where they name neither a site nor a person.</summary>
    internal static string? DomainIn(IEnumerable<string> names)
    {
        foreach (var name in names)
        {
            if (name.Split('.', 3) is [_, var group, var domain] && Groups.Any(one => one.Group == group)) return domain;
        }

        return null;
    }

    /// <summary>The DNS names that a certificate holds.</summary>
    public static IReadOnlyList<string> DnsOf(X509Certificate2 certificate) =>
        [.. certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().SelectMany(static one => one.EnumerateDnsNames())];

    /// <summary>The IP addresses that a certificate holds.</summary>
    public static IReadOnlyList<IPAddress> AddressesOf(X509Certificate2 certificate) =>
        [.. certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().SelectMany(static one => one.EnumerateIPAddresses())];

    // Read by ourselves: the framework passes over kinds of names that it does not know, which would then be granted unseen.
    private static (List<string> Dns, List<IPAddress> Addresses) Read(string file, byte[] extension)
    {
        List<string> dns = [];
        List<IPAddress> addresses = [];
        try
        {
            var reader = new AsnReader(extension, AsnEncodingRules.DER);
            var names = reader.ReadSequence();
            reader.ThrowIfNotEmpty();
            while (names.HasData)
            {
                var tag = names.PeekTag();
                if (tag.HasSameClassAndValue(new(TagClass.ContextSpecific, 2)))
                    dns.Add(names.ReadCharacterString(UniversalTagNumber.IA5String, new(TagClass.ContextSpecific, 2)));
                else if (tag.HasSameClassAndValue(new(TagClass.ContextSpecific, 7))
                    && names.ReadOctetString(new(TagClass.ContextSpecific, 7)) is { Length: 4 or 16 } bytes)
                    addresses.Add(new IPAddress(bytes));
                else
                    throw new BadInputException(
                        $"{file}: asks for a name that is neither a DNS name nor an IP address (kind {tag.TagValue})");
            }
        }
        catch (Exception e) when (e is AsnContentException or CryptographicException)
        {
            throw new BadInputException($"{file}: the names that it asks for cannot be read", e);
        }

        return (dns, addresses);
    }

    private static CertificateNames Sort(string file, IReadOnlyList<string> dns, List<IPAddress> addresses, string domain)
    {
        if (dns.Count + addresses.Count > Most) throw new BadInputException($"{file}: asks for more than {Most} names");
        List<(CertificateKind Kind, string Name)> holders = [];
        List<string> hosts = [];
        foreach (var name in dns.Distinct())
        {
            var shown = $"\"{BadInputException.Shown(name)}\"";
            if (name.Contains('*', StringComparison.Ordinal))
                throw new BadInputException($"{file}: {shown} is a wildcard, which no certificate here holds; name each host");
            if (!IsHost(name))
                throw new BadInputException($"{file}: {shown} is no DNS name in lower case; use letters, digits, dashes and dots");
            var parts = name.Split('.', 3);
            var group = parts.Length == 3 ? Groups.FirstOrDefault(one => one.Group == parts[1]) : default;
            if (group.Group is not null)
            {
                if (parts[2] != domain)
                    throw new BadInputException($"{file}: {shown} belongs to the trust domain {parts[2]}, and this one is {domain}");
                holders.Add((group.Kind, parts[0]));
            }
            else if (name == domain || name.EndsWith($".{domain}", StringComparison.Ordinal))
            {
                throw new BadInputException($"{file}: {shown} lies in the trust domain {domain} and names neither a site nor a person");
            }
            else
            {
                hosts.Add(name);
            }
        }

        foreach (var address in addresses)
        {
            var isMulticast = address.IsIPv6Multicast
                || (address.AddressFamily == AddressFamily.InterNetwork && address.GetAddressBytes()[0] >= 224);
            if (isMulticast || address.IsIPv4MappedToIPv6 || address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any))
                throw new BadInputException($"{file}: {address} is not the address of one host");
        }

        var kinds = holders.Select(static one => one.Kind).Distinct().ToList();
        if (kinds.Count != 1)
        {
            throw new BadInputException(kinds.Count == 0
                ? $"{file}: names no site and no person of the trust domain {domain} (as NAME.sites.{domain})"
                : $"{file}: is for {string.Join(" and ", kinds).ToLowerInvariant()} at once; ask for one certificate each");
        }

        if (kinds[0] != CertificateKind.Site && (holders.Count > 1 || hosts.Count > 0 || addresses.Count > 0))
            throw new BadInputException($"{file}: a person's certificate holds one name and no host");
        return new(kinds[0], [.. holders.Select(static one => one.Name).Order(StringComparer.Ordinal)], hosts, [.. addresses.Distinct()]);
    }

    private static bool IsHost(string name) => name.Length is > 0 and <= LongestHost && !IPAddress.TryParse(name, out _)
        && name.Split('.').All(static label => label is { Length: > 0 and <= 63 } && label[0] != '-' && label[^1] != '-'
            && label.All(static c => c is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-'))
        && name.Split('.')[^1].Any(char.IsAsciiLetter); // else a name that some take for an address
}

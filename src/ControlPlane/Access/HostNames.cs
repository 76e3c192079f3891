using System.Net;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;
using Microsoft.AspNetCore.Http;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// The names that a server answers to, so that a name of somebody else that leads to its address does not make his pages its own: loopback
/// alone without TLS; with it the names of the certificate that is served, and those that were named.
/// </summary>
/// <param name="identity">Whose certificate is served; null without TLS.</param>
/// <param name="named">Other names, and addresses.</param>
internal sealed class HostNames(TlsIdentity? identity, IReadOnlyList<string> named)
{
    private volatile Held? _held;

    /// <summary>What is said to a request for another name.</summary>
    public string Refusal => identity is null
        ? "this server answers to localhost and loopback addresses alone"
        : "this server answers to the names and addresses of its certificate, its own addresses, and what --control-name names";

    /// <summary>Whether a request is for this server.</summary>
    public bool Has(HostString host, ConnectionInfo connection)
    {
        if (!host.HasValue) return false;
        var name = host.Host.Trim('[', ']').TrimEnd('.');
        var address = IPAddress.TryParse(name, out var parsed) ? parsed : null;
        var isOfLoopback = name.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (address is not null
            && IPAddress.IsLoopback(address));
        if (identity is null) return isOfLoopback;
        if (isOfLoopback && connection.RemoteIpAddress is { } from && IPAddress.IsLoopback(from)) return true;
        // an address cannot be made to lead elsewhere: probes ask for the one that they connect to
        if (address is not null && connection.LocalIpAddress is { } local && Same(address, local)) return true;
        if (named.Contains(name, StringComparer.OrdinalIgnoreCase)) return true;
        var held = HeldBy(identity.Current.Certificate);
        return address is not null ? held.Addresses.Any(own => Same(own, address)) : held.Names.Contains(name);
    }

    private Held HeldBy(X509Certificate2 certificate)
    {
        if (_held is { } known && ReferenceEquals(known.Certificate, certificate)) return known;
        var names = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().ToList();
        return _held = new(certificate,
            names.SelectMany(static extension => extension.EnumerateDnsNames()).ToHashSet(StringComparer.OrdinalIgnoreCase),
            [.. names.SelectMany(static extension => extension.EnumerateIPAddresses())]);
    }

    private static bool Same(IPAddress one, IPAddress other) => one.MapToIPv6().Equals(other.MapToIPv6());

    private sealed record Held(X509Certificate2 Certificate, HashSet<string> Names, IReadOnlyList<IPAddress> Addresses);
}

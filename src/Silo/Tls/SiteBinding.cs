using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Grains;
using FedRLora.Pki;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization;

namespace FedRLora.Silo.Tls;

/// <summary>
/// Ties silos to certificates. A row of the membership is a claim: it says what a silo is called and which sites it serves, and whoever
/// can write to the membership can write one. A connection counts only where the certificate at its other end is of all sites that the
/// row claims. This is the one place that knows how a silo of Orleans says who it is.
/// </summary>
internal sealed class SiteBinding(TlsIdentity identity, TlsSettings settings, IServiceProvider services)
{
    private const int LongestPreamble = 1024;
    private readonly Lazy<PreambleReader> _preambles = new(() => PreambleReader.Create(services));

    private IClusterMembershipService Membership => services.GetRequiredService<IClusterMembershipService>();

    /// <summary>What the membership calls the silo at an endpoint; null where it knows none.</summary>
    public string? NameAt(EndPoint? endpoint) => MemberAt(endpoint)?.Name;

    /// <summary>The silo at an endpoint: of several rows the one that is not dead, then the youngest.</summary>
    public ClusterMember? MemberAt(EndPoint? endpoint) => endpoint is not IPEndPoint place ? null
        : Membership.CurrentSnapshot.Members.Values.Where(member => IsAt(member.SiloAddress, place))
            .OrderBy(static member => member.Status == SiloStatus.Dead).ThenByDescending(static member => member.SiloAddress.Generation)
            .FirstOrDefault();

    /// <summary>What the membership calls a silo, read again where it is not known yet; null where there is no row of it.</summary>
    public async Task<string?> NameOfAsync(SiloAddress silo, CancellationToken cancellationToken)
    {
        if (Known(silo) is { } name) return name;
        await Membership.Refresh(default, cancellationToken);
        return Known(silo);
    }

    /// <summary>What the membership calls a silo, as far as this one knows.</summary>
    public string? Known(SiloAddress silo) =>
        Membership.CurrentSnapshot.Members.TryGetValue(silo, out var member) ? member.Name : null;

    /// <summary>Why a certificate is not that of a silo; null where it is.</summary>
    /// <param name="row">What the membership calls the silo; null where there is no row of it.</param>
    /// <param name="certificate">A certificate that is trusted.</param>
    /// <param name="place">Where the silo is.</param>
    public string? Refusal(string? row, X509Certificate2 certificate, EndPoint? place)
    {
        var held = SanNames.Of(certificate, identity.Domain).Sites;
        if (held.Count == 0) return $"its certificate is of no site (no name of the form NAME.sites.{identity.Domain})";
        if (row is null)
            return settings.RowsComeFirst || place is not IPEndPoint { Address: var address } || !IPAddress.IsLoopback(address)
                ? "the membership has no row of it"
                : null; // judged again when there is one
        var missing = SiloIdentity.SitesOf(row).Split(',').Except(held).ToList();
        return missing.Count == 0 ? null
            : $"it claims to be silo {SiloIdentity.NameOf(row)} of site {string.Join(", ", missing)}, and its certificate is of "
                + string.Join(", ", held);
    }

    /// <summary>The name that the certificate of the silo at an endpoint has to hold; one that nobody holds for an unknown one.</summary>
    public string TargetHost(EndPoint? endpoint) => NameAt(endpoint) is { } row
        ? SanNames.OfSite(SiloIdentity.SitesOf(row).Split(',')[0], identity.Domain)
        : $"unknown.{identity.Domain}";

    /// <summary>Who a silo says it is, with the first bytes of a connection, which stay unread; null where it says nothing.</summary>
    /// <exception cref="InvalidDataException">The bytes are not those of a silo.</exception>
    public async Task<SiloAddress?> PeekAsync(PipeReader input, CancellationToken cancellationToken)
    {
        while (true)
        {
            var read = await input.ReadAsync(cancellationToken);
            var (address, whole) = Parse(read.Buffer);
            if (whole)
            {
                input.AdvanceTo(read.Buffer.Start);
                return address ?? throw new InvalidDataException("it does not say which silo it is");
            }

            var over = read.IsCompleted || read.IsCanceled;
            input.AdvanceTo(read.Buffer.Start, read.Buffer.End);
            if (over) return null;
        }
    }

    private (SiloAddress? Address, bool Whole) Parse(in ReadOnlySequence<byte> buffer)
    {
        Span<byte> prefix = stackalloc byte[sizeof(int)];
        if (buffer.Length < prefix.Length) return default;
        buffer.Slice(0, prefix.Length).CopyTo(prefix);
        var length = BinaryPrimitives.ReadInt32LittleEndian(prefix);
        if (length is <= 0 or > LongestPreamble) throw new InvalidDataException("it does not speak as a silo does");
        if (buffer.Length < prefix.Length + length) return default;
        return (_preambles.Value.SiloOf(buffer.Slice(prefix.Length, length).ToArray()), true);
    }

    private static bool IsAt(SiloAddress silo, IPEndPoint place) =>
        silo.Endpoint.Port == place.Port && Plain(silo.Endpoint.Address).Equals(Plain(place.Address));

    private static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}

/// <summary>Reads what a silo says first. Its type is Orleans' own, so that it is found by name; a test pins its shape.</summary>
internal abstract class PreambleReader
{
    /// <summary>The type's name.</summary>
    public const string TypeName = "Orleans.Runtime.Messaging.ConnectionPreamble, Orleans.Core";

    /// <summary>The name of its property that says which silo it is.</summary>
    public const string PropertyName = "SiloAddress";

    /// <summary>The silo that the bytes name.</summary>
    public abstract SiloAddress? SiloOf(byte[] bytes);

    /// <summary>A reader with the serializer of some services.</summary>
    public static PreambleReader Create(IServiceProvider services)
    {
        var type = Type.GetType(TypeName, throwOnError: true)!;
        return (PreambleReader)ActivatorUtilities.CreateInstance(services, typeof(Of<>).MakeGenericType(type));
    }

    private sealed class Of<T>(Serializer<T> serializer) : PreambleReader
    {
        private readonly Func<T, SiloAddress?> _silo =
            typeof(T).GetProperty(PropertyName)!.GetMethod!.CreateDelegate<Func<T, SiloAddress?>>();

        public override SiloAddress? SiloOf(byte[] bytes)
        {
            try
            {
                return serializer.Deserialize(bytes) is { } said ? _silo(said) : null;
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                throw new InvalidDataException($"it does not speak as a silo does: {e.Message}", e);
            }
        }
    }
}

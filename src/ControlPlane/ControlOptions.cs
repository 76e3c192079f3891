using System.Globalization;
using System.Net;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using FedRLora.Pki;

namespace FedRLora.ControlPlane;

/// <summary>Where a control plane listens, and which file keeps its token.</summary>
public sealed record ControlOptions
{
    /// <summary>Where the first silo of a machine listens, unless told otherwise.</summary>
    public const int DefaultPort = 8470;

    /// <summary>What <c>--control</c> accepts.</summary>
    public const string Forms = "PORT, which is one of 127.0.0.1, or an address with a port, as 0.0.0.0:8470";

    /// <summary>The address; port 0 takes a free one. Others than loopback need <see cref="Tls"/>.</summary>
    public required IPEndPoint Address { get; init; }

    /// <summary>The certificate that it shows; null for plain HTTP, on loopback alone.</summary>
    public TlsFiles? Tls { get; init; }

    /// <summary>
    /// Whether the authorities of <see cref="Tls"/> are those of clients alone, and another one may have issued the certificate.
    /// </summary>
    public bool IsPublic { get; init; }

    /// <summary>The trust domain of <see cref="Tls"/>.</summary>
    public string TrustDomain { get; init; } = SanNames.DefaultDomain;

    /// <summary>Names and addresses that it answers to over TLS, beside those of its certificate.</summary>
    public IReadOnlyList<string> Names { get; init; } = [];

    /// <summary>The file with the hashed tokens of several people; null for none.</summary>
    public string? TokensFile { get; init; }

    /// <summary>Whose signed tokens are accepted; null for nobody's.</summary>
    public OidcOptions? Oidc { get; init; }

    /// <summary>
    /// The file with the operator's token, made where it is not there; null for the one that the port names, and over TLS for none.
    /// </summary>
    public string? TokenFile { get; init; }

    /// <summary>Whether Orleans' own dashboard is there, for operators.</summary>
    public bool OrleansDashboard { get; init; }

    /// <summary>Whether the process is there for one run and ends with it: others are not begun, and its plan stays as it is.</summary>
    public bool IsOfOneRun { get; init; }

    /// <summary>A port of 127.0.0.1.</summary>
    public static ControlOptions OnPort(int port) => new() { Address = new(IPAddress.Loopback, port) };

    /// <summary>Reads <see cref="Forms"/>.</summary>
    /// <exception cref="BadInputException">It is neither.</exception>
    public static IPEndPoint Parse(string text)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= ushort.MaxValue)
            return new(IPAddress.Loopback, port);
        var named = text.StartsWith("localhost:", StringComparison.OrdinalIgnoreCase) ? $"127.0.0.1{text["localhost".Length..]}" : text;
        return IPEndPoint.TryParse(named, out var address) && address.Port != 0
            ? address
            : throw new BadInputException($"--control: '{BadInputException.Shown(text)}' is no address to listen on; give {Forms}");
    }

    /// <summary>Returns the options where nobody's token would travel in the clear.</summary>
    /// <exception cref="BadInputException">Others than this machine could reach the address, and it has no certificate.</exception>
    public ControlOptions Checked() => Tls is not null || IPAddress.IsLoopback(Address.Address)
        ? this
        : throw new BadInputException($"--control: {Address} can be reached from other machines, so that it speaks https alone; name the "
            + $"folder of its certificate with --control-tls or --tls, or give a port of 127.0.0.1");
}

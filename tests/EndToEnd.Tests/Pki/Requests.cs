using System.Security.Cryptography;
using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>Requests of sites, each with a key of its own.</summary>
internal static class Requests
{
    public static SigningRequest Of(string site)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var names = CertificateNames.Of(CertificateKind.Site, [site], [], "fedrlora");
        return SigningRequest.Parse("request.csr", SigningRequest.Make(key, names, "fedrlora"), "fedrlora");
    }
}

/// <summary>A clock that stands where it was set.</summary>
internal sealed class SetClock : TimeProvider
{
    public DateTimeOffset Now { get; set; } = new(2026, 7, 1, 12, 0, 0, TimeSpan.Zero);

    public override DateTimeOffset GetUtcNow() => Now;
}

using System.Security.Cryptography.X509Certificates;

namespace FedRLora.Pki;

/// <summary>Certificates that a peer sent beside its own, kept for as long as its connection lasts.</summary>
/// <param name="Certificates">Copies: the handshake's own end with it.</param>
public sealed record SentChain(IReadOnlyList<X509Certificate2> Certificates)
{
    /// <summary>A peer that sent its own alone.</summary>
    public static SentChain Nothing { get; } = new([]);

    /// <summary>Copies what a handshake has.</summary>
    public static SentChain Of(X509Certificate2Collection sent) =>
        sent.Count == 0 ? Nothing : new([.. sent.Select(static one => X509CertificateLoader.LoadCertificate(one.RawData))]);
}

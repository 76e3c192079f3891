using System.Security.Cryptography.X509Certificates;

namespace FedRLora.Pki;

/// <summary>An identity at one moment: what is served, who is trusted, who is denied.</summary>
/// <param name="Certificate">The certificate with its key.</param>
/// <param name="Intermediates">Certificates that followed it in its file, the nearest first.</param>
/// <param name="Roots">Self-signed authorities that are trusted.</param>
/// <param name="Known">Other certificates of the authorities' file: they complete chains and are not trusted by themselves.</param>
/// <param name="Denied">Who is refused.</param>
public sealed record TlsState(X509Certificate2 Certificate, IReadOnlyList<X509Certificate2> Intermediates,
    IReadOnlyList<X509Certificate2> Roots, IReadOnlyList<X509Certificate2> Known, DenyList Denied);

/// <summary>What a certificate is shown for.</summary>
public enum CertificateUse
{
    /// <summary>By a server to its clients.</summary>
    Server,

    /// <summary>By a client to its server.</summary>
    Client,
}

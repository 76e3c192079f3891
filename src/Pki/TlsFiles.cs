namespace FedRLora.Pki;

/// <summary>The files of an identity, as cert-manager and <c>fedrlora pki</c> write them.</summary>
/// <param name="Certificate">The certificate, PEM; intermediate certificates may follow it.</param>
/// <param name="Key">Its private key, PEM, unencrypted.</param>
/// <param name="Authorities">Certificates of the authorities that are trusted, PEM; intermediate ones may stand among them.</param>
/// <param name="Denied">What is refused whatever its certificate says (<see cref="DenyList"/>); the file need not be there.</param>
public sealed record TlsFiles(string Certificate, string Key, string Authorities, string Denied)
{
    /// <summary>Name of the certificate's file in a folder.</summary>
    public const string CertificateName = "tls.crt";

    /// <summary>Name of the key's file in a folder.</summary>
    public const string KeyName = "tls.key";

    /// <summary>Name of the authorities' file in a folder.</summary>
    public const string AuthoritiesName = "ca.crt";

    /// <summary>Name of the deny-list's file in a folder.</summary>
    public const string DeniedName = "revoked.txt";

    /// <summary>The files of a folder, which may be one that Kubernetes mounted from a secret.</summary>
    public static TlsFiles In(string folder) => new(Path.Combine(folder, CertificateName), Path.Combine(folder, KeyName),
        Path.Combine(folder, AuthoritiesName), Path.Combine(folder, DeniedName));
}

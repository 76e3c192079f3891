using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;

namespace FedRLora.Grains.Tests.Control;

/// <summary>An authority of a test, and what it issues.</summary>
internal sealed class TestAuthority(string name = "authority of a test")
{
    public static DateTimeOffset Now => TimeProvider.System.GetUtcNow();

    public X509Certificate2 Root { get; } = Issuing.Authority(name, Now.AddDays(-10), Now.AddDays(90));

    /// <summary>A certificate with its key, for clients alone unless told otherwise.</summary>
    public X509Certificate2 Issue(
        string[] names, CertificateUse[]? uses = null, IPAddress[]? addresses = null, DateTimeOffset? from = null,
            DateTimeOffset? until = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var issued = Issuing.Leaf(Root, new PublicKey(key), names, addresses ?? [], uses ?? [CertificateUse.Client],
            from ?? Now.AddMinutes(-5), until ?? Now.AddDays(30));
        using var pair = issued.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), password: null);
    }

    /// <summary>A certificate of a server on loopback, for both uses.</summary>
    public X509Certificate2 Server(params string[] names) => Issue(
        [.. names, "control.example"], [CertificateUse.Server, CertificateUse.Client], [IPAddress.Loopback]);

    /// <summary>Writes a folder as cert-manager does.</summary>
    public string Write(string folder, X509Certificate2 leaf)
    {
        Directory.CreateDirectory(folder);
        var files = TlsFiles.In(folder);
        File.WriteAllText(files.Authorities, Root.ExportCertificatePem() + "\n");
        File.WriteAllText(files.Certificate, leaf.ExportCertificatePem() + "\n");
        using var key = leaf.GetECDsaPrivateKey()!;
        File.WriteAllText(files.Key, key.ExportPkcs8PrivateKeyPem() + "\n");
        File.SetUnixFileMode(files.Key, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return folder;
    }
}

using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>An authority and the folders of those that it certified.</summary>
internal sealed class TestAuthority : IDisposable
{
    private static readonly CertificateUse[] Both = [CertificateUse.Server, CertificateUse.Client];

    public TestAuthority(string name = "a test's authority") =>
        Root = Issuing.Authority(name, Now - TimeSpan.FromDays(100), Now + TimeSpan.FromDays(365));

    public X509Certificate2 Root { get; }

    public static DateTimeOffset Now => TimeProvider.System.GetUtcNow();

    public string Pem => Root.ExportCertificatePem();

    /// <summary>A certificate with its key, usable by TLS.</summary>
    public X509Certificate2 Issue(
        string[] names, CertificateUse[]? uses = null, DateTimeOffset? from = null, DateTimeOffset? until = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var leaf = Issuing.Leaf(Root, new PublicKey(key), names, [], uses ?? Both, from ?? Now - Issuing.BeforeIssue,
            until ?? Now + Issuing.LeafLifetime);
        using var pair = leaf.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), null, X509KeyStorageFlags.Exportable);
    }

    /// <summary>One whose certificates are issued by an authority below it: the root's PEM, and what signs.</summary>
    public static (string Root, X509Certificate2 Below) TwoSteps()
    {
        using var rootKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var root = Request("root", rootKey).CreateSelfSigned(Now - TimeSpan.FromDays(100), Now + TimeSpan.FromDays(365));
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var below = Request("below", key).Create(root, Now - TimeSpan.FromDays(50), Now + TimeSpan.FromDays(300), [1, 2, 3]);
        return (root.ExportCertificatePem(), below.CopyWithPrivateKey(key));

        static CertificateRequest Request(string name, ECDsa key)
        {
            var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
            request.CertificateExtensions.Add(X509BasicConstraintsExtension.CreateForCertificateAuthority());
            request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign, critical: true));
            request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
            return request;
        }
    }

    public X509Certificate2 IssueSite(params string[] sites) => Issue([.. sites.Select(static site => $"{site}.sites.fedrlora")]);

    /// <summary>Writes a folder as <c>fedrlora pki</c> does; the key first.</summary>
    public static void Write(string folder, X509Certificate2 pair, string authorities)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, TlsFiles.AuthoritiesName), authorities);
        WritePair(folder, pair);
    }

    public static void WritePair(string folder, X509Certificate2 pair)
    {
        using var key = pair.GetECDsaPrivateKey()!;
        var file = Path.Combine(folder, TlsFiles.KeyName);
        File.WriteAllText(file, key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllText(Path.Combine(folder, TlsFiles.CertificateName), pair.ExportCertificatePem());
    }

    public void Dispose() => Root.Dispose();
}

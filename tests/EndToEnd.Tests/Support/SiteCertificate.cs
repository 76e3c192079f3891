using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A site's certificate as the folder that <c>--tls</c> names.</summary>
internal static class SiteCertificate
{
    /// <summary>Makes a key and has it signed; returns the certificate's serial number.</summary>
    public static string Write(
        string folder, X509Certificate2 authority, string site, DateTimeOffset from, DateTimeOffset until, params IPAddress[] addresses)
    {
        var files = TlsFiles.In(Directory.CreateDirectory(folder).FullName);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var leaf = Issuing.Leaf(authority, new PublicKey(key), [SanNames.OfSite(site, SanNames.DefaultDomain)], addresses,
            [CertificateUse.Server, CertificateUse.Client], from, until);
        File.WriteAllText(files.Authorities, authority.ExportCertificatePem());
        File.WriteAllText(files.Certificate, leaf.ExportCertificatePem());
        File.WriteAllText(files.Key, key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(files.Key, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return leaf.SerialNumber;
    }
}

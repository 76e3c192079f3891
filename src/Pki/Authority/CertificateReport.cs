using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>What stands in a certificate, and whether others would accept it.</summary>
public sealed record CertificateReport
{
    /// <summary>Where it was read.</summary>
    public required string File { get; init; }

    /// <summary>Its DNS names.</summary>
    public required IReadOnlyList<string> Names { get; init; }

    /// <summary>Its IP addresses.</summary>
    public required IReadOnlyList<string> Addresses { get; init; }

    /// <summary>Whose it is, as its subject says; counts for nothing.</summary>
    public required string Subject { get; init; }

    /// <summary>Who issued it.</summary>
    public required string Issuer { get; init; }

    /// <summary>Its serial number, in hexadecimal digits.</summary>
    public required string Serial { get; init; }

    /// <summary>When it begins.</summary>
    public required DateTimeOffset From { get; init; }

    /// <summary>When it ends.</summary>
    public required DateTimeOffset Until { get; init; }

    /// <summary>Whole days until then; negative afterwards.</summary>
    public required int DaysLeft { get; init; }

    /// <summary>SHA-256 of it, in hexadecimal digits.</summary>
    public required string Fingerprint { get; init; }

    /// <summary>Its kind of key.</summary>
    public required string Key { get; init; }

    /// <summary>Whether it is an authority's.</summary>
    public required bool IsAuthority { get; init; }

    /// <summary>Whether the key beside it is its own; null where there is none to ask.</summary>
    public bool? KeyFits { get; init; }

    /// <summary>Whether it is on the deny-list beside it; null where there is none.</summary>
    public bool? Revoked { get; init; }

    /// <summary>Why others would refuse it; null where they would not, or where nothing says whom they trust.</summary>
    public string? Problem { get; init; }

    /// <summary>The certificates of a file, without asking who trusts them.</summary>
    /// <exception cref="BadInputException">It holds none.</exception>
    public static IReadOnlyList<CertificateReport> OfFile(string file, TimeProvider time)
    {
        var all = new X509Certificate2Collection();
        try
        {
            all.ImportFromPem(PkiFiles.Read(file));
        }
        catch (CryptographicException e)
        {
            throw new BadInputException($"{file}: a certificate in it cannot be read: {e.Message.Split('\n', 2)[0].TrimEnd()}", e);
        }

        if (all.Count == 0) throw new BadInputException($"{file}: holds neither a certificate nor a request in PEM");
        return [.. all.Select(one => Of(file, one, time))];
    }

    /// <summary>The certificate of a folder, as others would judge it.</summary>
    /// <exception cref="BadInputException">There is none, or a file cannot be read.</exception>
    public static CertificateReport OfFolder(string folder, TimeProvider time)
    {
        var files = TlsFiles.In(folder);
        using var certificate = IdentityFolder.ReadFirst(files.Certificate);
        var report = Of(files.Certificate, certificate, time) with
        {
            KeyFits = System.IO.File.Exists(files.Key) ? IdentityFolder.Fits(certificate, files.Key) : null,
        };
        var domain = CertificateNames.DomainOf(certificate) ?? SanNames.DefaultDomain;
        if (System.IO.File.Exists(files.Denied))
        {
            var denied = DenyList.Parse(files.Denied, PkiFiles.ReadList(files.Denied));
            report = report with
            {
                Revoked = denied.Serials.Contains(DenyList.Serial(report.Serial))
                    || SanNames.Of(certificate, domain).Sites.Any(denied.Sites.Contains),
            };
        }

        try
        {
            TlsIdentity.Open(files, domain, IdentityFolder.UsesOf(certificate), time, NullLogger.Instance);
            return report;
        }
        catch (BadInputException e)
        {
            return report with { Problem = e.Message };
        }
    }

    private static CertificateReport Of(string file, X509Certificate2 certificate, TimeProvider time) => new()
    {
        File = file, Names = CertificateNames.DnsOf(certificate),
        Addresses = [.. CertificateNames.AddressesOf(certificate).Select(static one => one.ToString())],
        Subject = BadInputException.Shown(certificate.Subject), Issuer = BadInputException.Shown(certificate.Issuer),
        Serial = certificate.SerialNumber, From = new DateTimeOffset(certificate.NotBefore).ToUniversalTime(),
        Until = new DateTimeOffset(certificate.NotAfter).ToUniversalTime(),
        DaysLeft = (int)Math.Floor((new DateTimeOffset(certificate.NotAfter) - time.GetUtcNow()).TotalDays),
        Fingerprint = Fingerprints.Of(certificate), Key = KeyName(certificate),
        IsAuthority = certificate.Extensions.OfType<X509BasicConstraintsExtension>().Any(static one => one.CertificateAuthority),
    };

    private static string KeyName(X509Certificate2 certificate)
    {
        try
        {
            return SigningRequest.Check("", certificate.PublicKey);
        }
        catch (BadInputException)
        {
            return certificate.PublicKey.Oid.FriendlyName ?? certificate.PublicKey.Oid.Value ?? "unknown"; // shown, not judged
        }
    }
}

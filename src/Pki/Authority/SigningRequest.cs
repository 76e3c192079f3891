using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>A request for a certificate (PKCS#10, RFC 2986), whose signature shows that who asks has the key.</summary>
/// <param name="Names">The names that it asks for.</param>
/// <param name="Key">The public key.</param>
/// <param name="KeyName">What kind of key it is, as <c>ECDSA P-256</c>.</param>
/// <param name="Fingerprint">SHA-256 of its bytes, in hexadecimal digits: names and key both.</param>
public sealed record SigningRequest(CertificateNames Names, PublicKey Key, string KeyName, string Fingerprint)
{
    /// <summary>Name of its file.</summary>
    public const string FileName = "request.csr";

    private const string Label = "CERTIFICATE REQUEST";
    private const int SmallestRsa = 2048, LargestRsa = 8192;

    private static readonly Dictionary<string, string> Curves = new()
    {
        ["1.2.840.10045.3.1.7"] = "P-256", ["1.3.132.0.34"] = "P-384", ["1.3.132.0.35"] = "P-521",
    };

    /// <summary>The fingerprint in groups of four digits, for people who compare it.</summary>
    public string Shown => Fingerprints.Shown(Fingerprint);

    /// <summary>A request in PEM.</summary>
    /// <param name="key">The private key: ECDSA or RSA.</param>
    /// <param name="names">The names.</param>
    /// <param name="domain">The trust domain.</param>
    public static string Make(AsymmetricAlgorithm key, CertificateNames names, string domain)
    {
        var dns = names.Dns(domain);
        var subject = new X500DistinguishedNameBuilder();
        subject.AddCommonName(dns[0].Length <= 64 ? dns[0] : dns[0][..64]);
        var request = key switch
        {
            ECDsa ecdsa => new CertificateRequest(subject.Build(), ecdsa, HashAlgorithmName.SHA256),
            RSA rsa => new CertificateRequest(subject.Build(), rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1),
            _ => throw new ArgumentException($"no request can be made with a key of {key.GetType().Name}", nameof(key)),
        };
        var held = new SubjectAlternativeNameBuilder();
        foreach (var name in dns) held.AddDnsName(name);
        foreach (var address in names.Addresses) held.AddIpAddress(address);
        request.CertificateExtensions.Add(held.Build());
        return request.CreateSigningRequestPem() + "\n";
    }

    /// <summary>Reads a request and makes sure that it may be granted.</summary>
    /// <param name="file">What messages call it.</param>
    /// <param name="text">PEM.</param>
    /// <param name="domain">The trust domain.</param>
    /// <exception cref="BadInputException">
    /// It cannot be read, its signature does not hold, its key is weak, or it asks for what is not granted.
    /// </exception>
    public static SigningRequest Parse(string file, string text, string domain)
    {
        var begun = text.Split($"-----BEGIN {Label}-----").Length - 1;
        if (begun != 1)
            throw new BadInputException(
                $"{file}: holds {(begun == 0 ? $"no request in PEM (-----BEGIN {Label}-----)" : "several requests")}");
        var (read, bytes) = Load(file, text);
        return new(CertificateNames.Of(file, read.CertificateExtensions, domain), read.PublicKey, Check(file, read.PublicKey),
            Convert.ToHexStringLower(SHA256.HashData(bytes)));
    }

    /// <summary>The trust domain that a request names; null where it names neither a site nor a person, or is none.</summary>
    internal static string? DomainOf(string text)
    {
        try
        {
            var names = Load("", text).Read.CertificateExtensions.OfType<X509SubjectAlternativeNameExtension>();
            return CertificateNames.DomainIn(names.SelectMany(static one => one.EnumerateDnsNames()));
        }
        catch (BadInputException)
        {
            return null; // Parse says what is wrong
        }
    }

    private static (CertificateRequest Read, byte[] Bytes) Load(string file, string text)
    {
        try
        {
            var bytes = Convert.FromBase64String(text[PemEncoding.Find(text).Base64Data]);
            // the extensions are looked at, and none but the names is taken over
            return (CertificateRequest.LoadSigningRequest(bytes, HashAlgorithmName.SHA256,
                CertificateRequestLoadOptions.UnsafeLoadCertificateExtensions, RSASignaturePadding.Pkcs1), bytes);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or FormatException)
        {
            throw new BadInputException(
                $"{file}: is no request, or its signature does not hold: {e.Message.Split('\n', 2)[0].TrimEnd()}", e);
        }
    }

    /// <summary>What kind of key it is.</summary>
    /// <exception cref="BadInputException">It is of no kind that is strong enough.</exception>
    public static string Check(string file, PublicKey key)
    {
        try
        {
            using var ecdsa = key.GetECDsaPublicKey();
            if (ecdsa?.ExportParameters(includePrivateParameters: false).Curve is { IsNamed: true, Oid.Value: { } curve }
                && Curves.TryGetValue(curve, out var name))
                return $"ECDSA {name}";
            using var rsa = key.GetRSAPublicKey();
            if (rsa is { KeySize: >= SmallestRsa and <= LargestRsa }
                && rsa.ExportParameters(includePrivateParameters: false).Exponent is [1, 0, 1])
                return $"RSA {rsa.KeySize}";
            throw new BadInputException($"{file}: its key is not strong enough, or of another kind"
                + (rsa is null ? "" : $" (RSA of {rsa.KeySize} bits)")
                + $"; use ECDSA on P-256, P-384 or P-521, or RSA of {SmallestRsa} to {LargestRsa} bits with exponent 65537");
        }
        catch (CryptographicException e)
        {
            throw new BadInputException($"{file}: its key cannot be read: {e.Message.Split('\n', 2)[0].TrimEnd()}", e);
        }
    }
}

using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace FedRLora.Pki;

/// <summary>Makes certificates: ECDSA on P-256 with SHA-256 for authorities, the key of whoever asks for leaves.</summary>
public static class Issuing
{
    /// <summary>How long a leaf is valid unless told otherwise.</summary>
    public static readonly TimeSpan LeafLifetime = TimeSpan.FromDays(30);

    /// <summary>By how much a certificate is valid before it was issued: clocks of other machines may be behind.</summary>
    public static readonly TimeSpan BeforeIssue = TimeSpan.FromMinutes(5);

    /// <summary>A new authority, self-signed, with its key.</summary>
    /// <param name="name">Its common name.</param>
    /// <param name="from">When it begins.</param>
    /// <param name="until">When it ends.</param>
    public static X509Certificate2 Authority(string name, DateTimeOffset from, DateTimeOffset until)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(Name(name), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(X509BasicConstraintsExtension.CreateForCertificateAuthority(pathLengthConstraint: 0));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        return request.CreateSelfSigned(from, until);
    }

    /// <summary>A certificate for a public key.</summary>
    /// <param name="authority">Who issues it, with its key.</param>
    /// <param name="key">The public key.</param>
    /// <param name="names">The DNS names that it holds; the first is its common name.</param>
    /// <param name="addresses">The IP addresses that it holds.</param>
    /// <param name="uses">What it may be shown for.</param>
    /// <param name="from">When it begins.</param>
    /// <param name="until">When it ends; not later than its authority.</param>
    public static X509Certificate2 Leaf(X509Certificate2 authority, PublicKey key, IReadOnlyList<string> names,
        IReadOnlyList<IPAddress> addresses, IReadOnlyList<CertificateUse> uses, DateTimeOffset from, DateTimeOffset until)
    {
        var request = new CertificateRequest(Name(names[0]), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(X509BasicConstraintsExtension.CreateForEndEntity(critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(
            [.. uses.Select(Chains.UsageOf)],
            critical: false));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(key, critical: false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority,
            includeKeyIdentifier: true, includeIssuerAndSerial: false));
        var held = new SubjectAlternativeNameBuilder();
        foreach (var name in names) held.AddDnsName(name);
        foreach (var address in addresses) held.AddIpAddress(address);
        request.CertificateExtensions.Add(held.Build());
        var serial = RandomNumberGenerator.GetBytes(16);
        serial[0] &= 0x7f; // a positive number (RFC 5280, section 4.1.2.2)
        serial[0] |= 0x40; // of one length, so that no digit of it is a leading zero
        // by the key itself: the form that takes a certificate refuses to sign for a key of another kind than the authority's
        using var signer = authority.GetECDsaPrivateKey()
            ?? throw new ArgumentException("the authority has no ECDSA key", nameof(authority));
        return request.Create(authority.SubjectName, X509SignatureGenerator.CreateForECDsa(signer), from, until, serial);
    }

    private static X500DistinguishedName Name(string common)
    {
        var builder = new X500DistinguishedNameBuilder();
        builder.AddCommonName(common.Length <= 64 ? common : common[..64]); // the bound of the attribute (RFC 5280, appendix A)
        return builder.Build();
    }
}

using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>
/// The folder of a site or a person, as <see cref="TlsFiles"/> names its files. The key is made here and stays here; what goes out is a
/// request, what comes back a certificate and the authorities.
/// </summary>
public static class IdentityFolder
{
    /// <summary>Name of the key that waits for its certificate.</summary>
    public const string NewKeyName = "tls.key.new";

    /// <summary>Makes a key and a request for its certificate.</summary>
    /// <param name="folder">A folder without a key; made where it is not there.</param>
    /// <param name="names">The names to ask for.</param>
    /// <param name="domain">The trust domain.</param>
    /// <returns>The request.</returns>
    /// <exception cref="BadInputException">There is a key already, or the folder cannot be used.</exception>
    public static SigningRequest Request(string folder, CertificateNames names, string domain)
    {
        var (keyFile, file) = (Path.Combine(folder, TlsFiles.KeyName), Path.Combine(folder, SigningRequest.FileName));
        PkiFiles.RequireAbsent(keyFile);
        PkiFiles.RequireAbsent(file);
        PkiFiles.CreateFolder(folder);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var text = SigningRequest.Make(key, names, domain);
        PkiFiles.Create(keyFile, key.ExportPkcs8PrivateKeyPem() + "\n", PkiFiles.Secret);
        PkiFiles.Create(file, text, PkiFiles.Public);
        return SigningRequest.Parse(file, text, domain);
    }

    /// <summary>Makes a request for another certificate of the same names, beside the pair that is served.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="newKey">Whether a new key is made, which waits in <see cref="NewKeyName"/>.</param>
    /// <returns>The request.</returns>
    /// <exception cref="BadInputException">The pair cannot be read, or the folder cannot be written.</exception>
    public static SigningRequest Renew(string folder, bool newKey)
    {
        var files = TlsFiles.In(folder);
        PkiFiles.RequireReplaceable(files.Certificate);
        PkiFiles.RequireReplaceable(files.Key);
        using var served = ReadFirst(files.Certificate);
        var domain = CertificateNames.DomainOf(served)
            ?? throw new BadInputException($"{files.Certificate}: names neither a site nor a person; ask anew with: fedrlora pki request");
        var names = CertificateNames.Of(files.Certificate, served.Extensions, domain);
        using AsymmetricAlgorithm key = newKey ? ECDsa.Create(ECCurve.NamedCurves.nistP256) : ReadKey(files.Key);
        var file = Path.Combine(folder, SigningRequest.FileName);
        var text = SigningRequest.Make(key, names, domain);
        var waiting = Path.Combine(folder, NewKeyName);
        if (newKey) PkiFiles.Replace(waiting, key.ExportPkcs8PrivateKeyPem() + "\n", PkiFiles.Secret);
        else if (File.Exists(waiting)) File.Delete(waiting); // of a request that this one replaces
        PkiFiles.Replace(file, text, PkiFiles.Public);
        return SigningRequest.Parse(file, text, domain);
    }

    /// <summary>
    /// Puts a certificate into its place: the authorities first, then the key, then the certificate, each by one rename. A silo that looks
    /// in between finds a key that does not fit, says so once and serves the pair that it has until the next look.
    /// </summary>
    /// <param name="folder">The folder with the key.</param>
    /// <param name="reply">What the authority sent back: a folder with certificate and authorities, or the certificate alone.</param>
    /// <param name="told">
    /// Fingerprints of roots that the authority's administrator told (<see cref="Fingerprints.Digits"/>); none: they are not compared.
    /// </param>
    /// <param name="trusts">Takes each root that was not trusted here before, when all was checked and nothing is written yet.</param>
    /// <param name="time">The clock.</param>
    /// <returns>The certificate.</returns>
    /// <exception cref="BadInputException">
    /// Others would refuse it, its key is not here, it comes with other authorities than those that are trusted or were told, or a file
    /// cannot be written.
    /// </exception>
    public static X509Certificate2 Install(
        string folder, string reply, IReadOnlyList<string> told, Action<X509Certificate2> trusts, TimeProvider time)
    {
        var files = TlsFiles.In(folder);
        var isFolder = Directory.Exists(reply);
        var certificateFile = isFolder ? Path.Combine(reply, TlsFiles.CertificateName) : reply;
        var sentAuthorities = isFolder ? Path.Combine(reply, TlsFiles.AuthoritiesName) : files.Authorities;
        var authorities = File.Exists(sentAuthorities) ? sentAuthorities : files.Authorities;
        var certificate = ReadFirst(certificateFile);
        var waiting = Path.Combine(folder, NewKeyName);
        var key = new[] { waiting, files.Key }.FirstOrDefault(file => File.Exists(file) && Fits(certificate, file))
            ?? throw new BadInputException($"{certificateFile}: no key in {folder} is of this certificate; "
                + "was it made for the request that lies there?");
        var bundle = PkiFiles.Read(authorities);
        var roots = Bundles.Roots(authorities, bundle);
        var before = TrustedBefore(files.Authorities, unless: isFolder ? sentAuthorities : null);
        RequireTrust(authorities, roots, files.Authorities, before);
        List<X509Certificate2> newRoots = [.. roots.Where(root => !Bundles.Holds(before, root))];
        RequireTold(authorities, roots, newRoots, told);
        var domain = CertificateNames.DomainOf(certificate) ?? SanNames.DefaultDomain;
        // as a silo would open it
        var opened = new TlsFiles(certificateFile, key, authorities, files.Denied);
        TlsIdentity.Open(opened, domain, UsesOf(certificate), time, NullLogger.Instance);
        if (File.Exists(files.Certificate))
        {
            using var served = ReadFirst(files.Certificate);
            var lost = CertificateNames.DnsOf(served).Except(CertificateNames.DnsOf(certificate)).ToList();
            if (lost.Count > 0)
                throw new BadInputException($"{certificateFile}: does not hold {string.Join(", ", lost)}, which {files.Certificate} holds; "
                    + "use another folder for another identity");
        }

        foreach (var file in new[] { files.Certificate, files.Key, files.Authorities }) PkiFiles.RequireReplaceable(file);
        var text = PkiFiles.Read(certificateFile);
        newRoots.ForEach(trusts); // before: who repeats an install that was cut off would not see them any more
        if (authorities != files.Authorities) PkiFiles.Replace(files.Authorities, bundle, PkiFiles.Public);
        if (key == waiting) PkiFiles.Move(waiting, files.Key);
        PkiFiles.Replace(files.Certificate, text, PkiFiles.Public);
        File.Delete(Path.Combine(folder, SigningRequest.FileName)); // it has been answered
        return certificate;
    }

    /// <summary>What a certificate says that it may be shown for.</summary>
    internal static IReadOnlyList<CertificateUse> UsesOf(X509Certificate2 certificate)
    {
        var usages = certificate.Extensions.OfType<X509EnhancedKeyUsageExtension>()
            .SelectMany(static one => one.EnhancedKeyUsages.Cast<Oid>()).Select(static one => one.Value).ToList();
        return [.. Enum.GetValues<CertificateUse>().Where(use => usages.Count == 0 || usages.Contains(Chains.UsageOf(use).Value))];
    }

    /// <summary>The first certificate of a file, which is the one that the others lead to.</summary>
    internal static X509Certificate2 ReadFirst(string file)
    {
        try
        {
            return X509Certificate2.CreateFromPem(PkiFiles.Read(file));
        }
        catch (CryptographicException e)
        {
            throw new BadInputException($"{file}: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", e);
        }
    }

    /// <summary>Whether a file holds the private key of a certificate.</summary>
    internal static bool Fits(X509Certificate2 certificate, string keyFile)
    {
        using var key = ReadKey(keyFile);
        return key.ExportSubjectPublicKeyInfo().AsSpan().SequenceEqual(certificate.PublicKey.ExportSubjectPublicKeyInfo());
    }

    // Of a reply that was put right into the folder nothing says what was trusted before it came.
    private static IReadOnlyList<X509Certificate2> TrustedBefore(string file, string? unless) =>
        File.Exists(file) && (unless is null || Path.GetFullPath(unless) != Path.GetFullPath(file))
            ? Bundles.Roots(file, PkiFiles.Read(file))
            : [];

    // Whoever can change a reply on its way would else say whom this site believes.
    private static void RequireTrust(
        string file, IReadOnlyList<X509Certificate2> roots, string trusted, IReadOnlyList<X509Certificate2> before)
    {
        if (before.Count > 0 && !roots.Any(root => Bundles.Holds(before, root)))
            throw new BadInputException($"{file}: shares no root with {trusted}, by which others are trusted here; should the authority be "
                + $"another one now, ask its administrator for its fingerprint, move {trusted} away, and give --ca-fingerprint");
    }

    // A root that was added on the way stands beside the right one, so that each has to be told that is new here.
    private static void RequireTold(
        string file, IReadOnlyList<X509Certificate2> roots, IReadOnlyList<X509Certificate2> newRoots, IReadOnlyList<string> told)
    {
        if (told.Count == 0) return;
        var found = roots.Select(Fingerprints.Of).ToList();
        if (told.FirstOrDefault(one => !found.Contains(one)) is { } missing)
            throw new BadInputException($"{file}: holds no root with the fingerprint {Fingerprints.Shown(missing)}, but "
                + $"{string.Join(", ", found.Select(Fingerprints.Shown))}: it was changed on the way, or is of another authority");
        if (newRoots.FirstOrDefault(root => !told.Contains(Fingerprints.Of(root))) is { } other)
            throw new BadInputException($"{file}: holds another root, {BadInputException.Shown(other.Subject)}, with the fingerprint "
                + $"{Fingerprints.Shown(Fingerprints.Of(other))}; ask the authority's administrator, and give each one's --ca-fingerprint");
    }

    private static AsymmetricAlgorithm ReadKey(string file)
    {
        var text = PkiFiles.Read(file);
        AsymmetricAlgorithm[] kinds = [ECDsa.Create(), RSA.Create()];
        AsymmetricAlgorithm? found = null;
        foreach (var kind in kinds)
        {
            try
            {
                if (found is null && Import(kind, text)) found = kind;
            }
            finally
            {
                if (!ReferenceEquals(found, kind)) kind.Dispose();
            }
        }

        return found ?? throw new BadInputException($"{file}: holds no unencrypted private key in PEM, ECDSA or RSA");
    }

    private static bool Import(AsymmetricAlgorithm kind, string text)
    {
        try
        {
            if (kind is ECDsa ecdsa) ecdsa.ImportFromPem(text);
            else ((RSA)kind).ImportFromPem(text);
            return true;
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            return false;
        }
    }
}

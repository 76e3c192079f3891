using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>Files of authorities that are trusted.</summary>
internal static class Bundles
{
    /// <summary>Who is trusted by a bundle. The other certificates in it complete chains and are not trusted by themselves.</summary>
    /// <exception cref="BadInputException">It cannot be read, or trusts nobody.</exception>
    public static IReadOnlyList<X509Certificate2> Roots(string file, string text)
    {
        var all = new X509Certificate2Collection();
        try
        {
            all.ImportFromPem(text);
        }
        catch (CryptographicException e)
        {
            throw new BadInputException($"{file}: a certificate in it cannot be read: {e.Message.Split('\n', 2)[0].TrimEnd()}", e);
        }

        // as a silo tells them apart
        List<X509Certificate2> roots =
            [.. all.Where(static one => one.SubjectName.RawData.AsSpan().SequenceEqual(one.IssuerName.RawData))];
        return roots.Count > 0
            ? roots
            : throw new BadInputException($"{file}: holds no self-signed certificate, so that nobody would be trusted");
    }

    /// <summary>Whether a root is one of several; names do not count, since anybody can make a root of any name.</summary>
    public static bool Holds(IEnumerable<X509Certificate2> roots, X509Certificate2 root) =>
        roots.Any(one => one.RawDataMemory.Span.SequenceEqual(root.RawDataMemory.Span));
}

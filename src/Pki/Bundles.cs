using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki;

/// <summary>Files of several certificates.</summary>
internal static class Bundles
{
    private const string Begin = "-----BEGIN CERTIFICATE-----";

    /// <summary>The certificates of a file, in their order; at least one.</summary>
    /// <param name="file">The file, for messages.</param>
    /// <param name="text">What it holds.</param>
    /// <exception cref="BadInputException">It holds none, or one that cannot be read or is cut off.</exception>
    public static List<X509Certificate2> Read(string file, string text)
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

        var begun = text.Split(Begin).Length - 1;
        return all.Count > 0 && all.Count == begun
            ? [.. all]
            : throw new BadInputException(all.Count == 0
                ? $"{file}: holds no certificate in PEM ({Begin})"
                : $"{file}: {begun - all.Count} of its {begun} certificates are cut off");
    }

    /// <summary>Who is trusted by a file. The other certificates in it complete chains and are not trusted by themselves.</summary>
    /// <exception cref="BadInputException">It cannot be read, or trusts nobody.</exception>
    public static IReadOnlyList<X509Certificate2> Roots(string file, string text)
    {
        List<X509Certificate2> roots =
            [.. Read(file, text).Where(static one => one.SubjectName.RawData.AsSpan().SequenceEqual(one.IssuerName.RawData))];
        return roots.Count > 0
            ? roots
            : throw new BadInputException($"{file}: holds no self-signed certificate, so that nobody would be trusted");
    }

    /// <summary>Whether a root is one of several; names do not count, since anybody can make a root of any name.</summary>
    public static bool Holds(IEnumerable<X509Certificate2> roots, X509Certificate2 root) =>
        roots.Any(one => one.RawDataMemory.Span.SequenceEqual(root.RawDataMemory.Span));
}

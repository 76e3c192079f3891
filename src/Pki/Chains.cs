using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace FedRLora.Pki;

/// <summary>What is said of chains of certificates: which use is which number, and why one is not accepted.</summary>
public static class Chains
{
    /// <summary>The extended key usage of a use (RFC 5280, section 4.2.1.12).</summary>
    public static Oid UsageOf(CertificateUse use) => new(use == CertificateUse.Server ? "1.3.6.1.5.5.7.3.1" : "1.3.6.1.5.5.7.3.2");

    /// <summary>A time as messages have it, in UTC to the second.</summary>
    public static string Text(DateTimeOffset time) =>
        time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <summary>Why a chain that was built is not valid, in one line.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="certificate">The certificate that it begins with.</param>
    /// <param name="use">What that is shown for.</param>
    /// <param name="subject">What the line calls it, for example <c>it</c>.</param>
    /// <param name="unknown">The line where no trusted authority issued it.</param>
    /// <param name="now">What this machine's clock says.</param>
    public static string Explain(
        X509Chain chain, X509Certificate2 certificate, CertificateUse use, string subject, string unknown, DateTimeOffset now)
    {
        var status = chain.ChainStatus.Aggregate(X509ChainStatusFlags.NoError, static (all, one) => all | one.Status);
        if (status.HasFlag(X509ChainStatusFlags.PartialChain) || status.HasFlag(X509ChainStatusFlags.UntrustedRoot)) return unknown;
        if (status.HasFlag(X509ChainStatusFlags.NotTimeValid))
        {
            var late = chain.ChainElements.First(static element =>
                element.ChainElementStatus.Any(static one => one.Status.HasFlag(X509ChainStatusFlags.NotTimeValid))).Certificate;
            var isIt = late.RawDataMemory.Span.SequenceEqual(certificate.RawDataMemory.Span);
            return $"{(isIt ? subject : $"the authority {late.Subject}")} is valid from {Text(late.NotBefore)} to {Text(late.NotAfter)}, "
                + $"and this machine's clock says {Text(now)}";
        }

        return status.HasFlag(X509ChainStatusFlags.NotValidForUsage)
            ? $"{subject} is not made for {(use == CertificateUse.Server ? "servers (serverAuth)" : "clients (clientAuth)")}"
            : $"{subject} is not valid: {string.Join(", ", chain.ChainStatus.Select(static one => one.Status).Distinct())}";
    }
}

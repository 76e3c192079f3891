using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>SHA-256 fingerprints, by which people compare what came by one way with what they were told by another.</summary>
public static class Fingerprints
{
    /// <summary>The fingerprint of a certificate, in hexadecimal digits: that of its bytes, as other programs have it.</summary>
    public static string Of(X509Certificate2 certificate) => Convert.ToHexStringLower(SHA256.HashData(certificate.RawData));

    /// <summary>Digits in groups of four, for people who compare them.</summary>
    public static string Shown(string digits) => string.Join('-', digits.Chunk(4).Select(static group => new string(group)));

    /// <summary>The digits of a fingerprint that was written in groups: colons, dashes, spaces and case do not matter.</summary>
    public static string Digits(string text) =>
        new([.. text.ToLowerInvariant().Where(static c => c is not ('-' or ':') && !char.IsWhiteSpace(c))]);

    /// <summary>The same, of what can be a fingerprint.</summary>
    /// <param name="option">Where it was given.</param>
    /// <param name="text">What was given.</param>
    /// <exception cref="BadInputException">It has too few digits or too many, or others than hexadecimal ones.</exception>
    public static string Parse(string option, string text) =>
        Digits(text) is { Length: 2 * SHA256.HashSizeInBytes } digits && digits.All(char.IsAsciiHexDigit)
            ? digits
            : throw new BadInputException($"{option}: \"{BadInputException.Shown(text)}\" is no SHA-256 fingerprint; "
                + $"give its {2 * SHA256.HashSizeInBytes} hexadecimal digits, in groups or not");
}

using System.Security.Cryptography;
using System.Text;

namespace FedRLora.Abstractions;

/// <summary>Names of plans, runs, clients and sites: they stand in keys of blobs and grains, so in file names.</summary>
public static class Identifiers
{
    /// <summary>Longest name.</summary>
    public const int MaxLength = 64;

    private const int DigestLength = 16;

    /// <summary>What a name is made of.</summary>
    public static readonly string Rule = $"1 to {MaxLength} letters, digits, dots, dashes and underscores, the first no dot";

    /// <summary>Whether a text may be a name.</summary>
    public static bool IsValid(string value) =>
        value is [not '.', ..] && value.Length <= MaxLength
        && value.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    /// <summary>
    /// A text as a name: itself where it may be one, else the first digits of its SHA-256; and these too where it looks like such digits,
    /// so that no two texts have one name.
    /// </summary>
    public static string Of(string text) => IsValid(text) && !(text.Length == DigestLength && text.All(char.IsAsciiHexDigitLower))
        ? text
        : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..DigestLength];

    /// <summary>Returns a name that may be one.</summary>
    /// <param name="kind">What the message calls it, for example <c>run</c>.</param>
    /// <param name="value">The name.</param>
    /// <exception cref="BadInputException">It may not.</exception>
    public static string Check(string kind, string value) =>
        IsValid(value) ? value : throw new BadInputException($"{kind}: \"{Shown(value)}\" is not a name; use {Rule}.");

    // One short line, whatever was given.
    private static string Shown(string value) =>
        string.Concat((value.Length > MaxLength ? value[..MaxLength] + "..." : value).Select(static c => char.IsControl(c) ? '?' : c));
}

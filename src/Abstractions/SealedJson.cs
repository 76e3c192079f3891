using System.Security.Cryptography;
using System.Text;

namespace FedRLora.Abstractions;

/// <summary>
/// JSON documents that nothing else names by digest. The last member, <c>sha256</c>, is the digest of every byte before it, and the
/// bytes from there on are fixed: no byte of a sealed document can change unnoticed, not even white space.
/// </summary>
public static class SealedJson
{
    private const int DigestLength = 64;
    private static readonly int TailLength = Tail(new string('0', DigestLength)).Length;

    /// <summary>Adds the digest to a JSON object that has at least one member.</summary>
    public static byte[] Seal(ReadOnlySpan<byte> json)
    {
        var body = json.TrimEnd(" \r\n"u8);
        if (body is not [(byte)'{', .., (byte)'}']) throw new ArgumentException("Only a JSON object can be sealed.", nameof(json));
        body = body[..^1].TrimEnd(" \r\n"u8);
        return [.. body, .. Tail(DigestOf(body))];
    }

    /// <summary>What is wrong with a sealed document; null where it is what <see cref="Seal"/> wrote.</summary>
    public static SealProblem? Check(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length <= TailLength) return new SealProblem(null, DigestOf(bytes));
        var body = bytes[..^TailLength];
        var tail = bytes[^TailLength..];
        var found = DigestOf(body);
        var expected = Tail(found);
        if (tail.SequenceEqual(expected)) return null;
        var start = expected.AsSpan().IndexOf(Encoding.ASCII.GetBytes(found));
        // What is no digit any more is not for a terminal.
        var shown = tail.Slice(start, DigestLength).ToArray().Select(static b => char.IsAsciiHexDigitLower((char)b) ? (char)b : '?');
        return new SealProblem(string.Concat(shown), found);
    }

    private static string DigestOf(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static byte[] Tail(string digest) => Encoding.ASCII.GetBytes($",\n  \"sha256\": \"{digest}\"\n}}\n");
}

/// <summary>A sealed document that was changed.</summary>
/// <param name="Expected">The digest that it names; null where it is too short to name one.</param>
/// <param name="Found">The digest of its content.</param>
public sealed record SealProblem(string? Expected, string Found)
{
    /// <summary>As an error says it.</summary>
    public override string ToString() => Expected is null
        ? $"has digest {Found} and does not say what it should be"
        : Expected == Found ? $"names digest {Expected}, which its content has, but is not written as it was sealed"
        : $"has digest {Found}, expected {Expected}";
}

using System.Buffers.Binary;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>
/// SentencePiece's normalization rules in their compiled form: the size of a trie in bytes, the trie (a double array of 32-bit
/// units over UTF-8, as the Darts-clone library lays it out), then the replacements, each ended by a zero byte.
/// </summary>
internal sealed class PrecompiledMap
{
    // Genuine rules write at most a few dozen bytes for a character.
    private const int LongestReplacement = 256;

    private readonly uint[] _units;
    private readonly byte[] _replacements;
    private readonly bool[] _plain; // ASCII that no rule names, neither alone nor before other ASCII

    private PrecompiledMap(uint[] units, byte[] replacements)
    {
        (_units, _replacements) = (units, replacements);
        _plain = [.. Enumerable.Range(0, 0x80).Select(static code => (byte)code).Select(IsPlain)];
    }

    private uint Root => _units.Length > 0 ? Offset(_units[0]) : 0;

    public static PrecompiledMap Read(Setting step)
    {
        var bytes = step.Get("precompiled_charsmap") is { ValueKind: System.Text.Json.JsonValueKind.String } text
            && text.TryGetBytesFromBase64(out var decoded)
            ? decoded
            : throw step.Bad("precompiled_charsmap is missing or not base64");
        var size = bytes.Length >= 4 ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        if (size == 0 || size % 4 != 0 || size > bytes.Length - 4)
            throw step.Bad(
                $"precompiled_charsmap of {bytes.Length} bytes says that its trie has {size}, expected a multiple of four that fits");
        var units = new uint[size / 4];
        for (var i = 0; i < units.Length; i++) units[i] = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4 + 4 * i));
        var replacements = bytes[(4 + (int)size)..];
        for (var rest = replacements.AsSpan(); !rest.IsEmpty;)
        {
            var end = rest.IndexOf((byte)0);
            if (end is < 0 or > LongestReplacement)
                throw step.Bad($"precompiled_charsmap has a replacement of {(end < 0 ? rest.Length : end)} bytes, "
                    + $"expected at most {LongestReplacement} and a zero byte after them");
            rest = rest[(end + 1)..];
        }

        return new PrecompiledMap(units, replacements);
    }

    /// <summary>The text with the longest sequence that a rule names replaced at each place, as SentencePiece itself does it.</summary>
    public string Apply(string text)
    {
        StringBuilder? result = null;
        for (var at = 0; at < text.Length;)
        {
            if (char.IsAscii(text[at]) && _plain[text[at]] && (at + 1 == text.Length || char.IsAscii(text[at + 1])))
            {
                result?.Append(text[at]);
                at++;
                continue;
            }

            var (length, replacement) = Longest(text.AsSpan(at));
            if (replacement is not null) (result ??= new StringBuilder(text, 0, at, text.Length + 16)).Append(replacement);
            else result?.Append(text, at, length);
            at += length;
        }

        return result?.ToString() ?? text;
    }

    private bool IsPlain(byte first)
    {
        var node = Root;
        if (!TryStep(ref node, first, out var rule)) return true;
        for (byte second = 1; second < 0x80 && rule is null; second++)
        {
            var next = node;
            if (TryStep(ref next, second, out _)) return false;
        }

        return rule is null;
    }

    // Without a rule, the length of the first code point.
    private (int Length, string? Replacement) Longest(ReadOnlySpan<char> text)
    {
        var (node, at) = (Root, 0);
        var (length, found) = (0, -1L);
        Span<byte> utf8 = stackalloc byte[4];
        while (at < text.Length)
        {
            Rune.DecodeFromUtf16(text[at..], out var rune, out var units);
            at += units;
            if (length == 0) length = units;
            uint? rule = null;
            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)])
            {
                if (!TryStep(ref node, value, out rule)) return (length, Replacement(found));
            }

            if (rule is { } index) (length, found) = (at, index);
        }

        return (length, Replacement(found));
    }

    private bool TryStep(ref uint node, byte value, out uint? rule)
    {
        rule = null;
        var at = node ^ value;
        if (value == 0 || at >= _units.Length || (_units[at] & 0x800000ff) != value) return false;
        node = at ^ Offset(_units[at]);
        if ((_units[at] >> 8 & 1) == 1 && node < _units.Length) rule = _units[node] & 0x7fffffff;
        return true;
    }

    private string? Replacement(long at)
    {
        if (at < 0 || at >= _replacements.Length) return null;
        var rest = _replacements.AsSpan((int)at);
        return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & (1u << 9)) >> 6);
}

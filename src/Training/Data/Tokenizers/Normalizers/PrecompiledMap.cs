using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>
/// SentencePiece's normalization rules in their compiled form: the size of a trie in bytes, the trie (a double array of 32-bit
/// units over UTF-8, as the Darts-clone library lays it out), then the replacements, each ended by a zero byte.
/// </summary>
internal sealed class PrecompiledMap
{
    // A user-perceived character of more bytes is not looked up as a whole.
    private const int LongestWhole = 5;

    // Genuine rules write at most a few dozen bytes for a character.
    private const int LongestReplacement = 256;

    private readonly uint[] _units;
    private readonly byte[] _replacements;
    private readonly string?[] _ascii = new string?[0x80];

    private PrecompiledMap(uint[] units, byte[] replacements)
    {
        (_units, _replacements) = (units, replacements);
        for (var unit = 0; unit < _ascii.Length; unit++) _ascii[unit] = Find([(byte)unit]);
    }

    public static PrecompiledMap Read(Setting step)
    {
        var bytes = step.Get("precompiled_charsmap") is { ValueKind: System.Text.Json.JsonValueKind.String } text && text.TryGetBytesFromBase64(out var decoded)
            ? decoded
            : throw step.Bad("precompiled_charsmap is missing or not base64");
        var size = bytes.Length >= 4 ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        if (size == 0 || size % 4 != 0 || size > bytes.Length - 4) throw step.Bad($"precompiled_charsmap of {bytes.Length} bytes says that its trie has {size}, expected a multiple of four that fits");
        var units = new uint[size / 4];
        for (var i = 0; i < units.Length; i++) units[i] = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4 + 4 * i));
        var replacements = bytes[(4 + (int)size)..];
        for (var rest = replacements.AsSpan(); !rest.IsEmpty;)
        {
            var end = rest.IndexOf((byte)0);
            if (end is < 0 or > LongestReplacement) throw step.Bad($"precompiled_charsmap has a replacement of {(end < 0 ? rest.Length : end)} bytes, expected at most {LongestReplacement} and a zero byte after them");
            rest = rest[(end + 1)..];
        }

        return new PrecompiledMap(units, replacements);
    }

    /// <summary>The text with each user-perceived character, or else each code point, replaced where a rule says so.</summary>
    public string Apply(string text)
    {
        StringBuilder? result = null;
        for (var at = 0; at < text.Length;)
        {
            // Between ASCII characters, except CR LF, a user-perceived character is one character.
            var plain = char.IsAscii(text[at]) && (at + 1 == text.Length || (char.IsAscii(text[at + 1]) && text[at + 1] != '\n'));
            var length = plain ? 1 : StringInfo.GetNextTextElementLength(text.AsSpan(at));
            if (!plain || _ascii[text[at]] is not null) Append(text.AsSpan(at, length), result ??= new StringBuilder(text, 0, at, text.Length + 16));
            else result?.Append(text[at]);
            at += length;
        }

        return result?.ToString() ?? text;
    }

    private void Append(ReadOnlySpan<char> character, StringBuilder result)
    {
        Span<byte> utf8 = stackalloc byte[LongestWhole];
        if (Encoding.UTF8.TryGetBytes(character, utf8, out var length) && Find(utf8[..length]) is { } whole)
        {
            result.Append(whole);
            return;
        }

        foreach (var rune in character.EnumerateRunes())
        {
            if (Find(utf8[..rune.EncodeToUtf8(utf8)]) is { } replacement) result.Append(replacement);
            else result.Append(rune);
        }
    }

    // The replacement of the shortest rule that begins the bytes.
    private string? Find(ReadOnlySpan<byte> utf8)
    {
        var node = (uint)0;
        if (!TryUnit(0, out var unit)) return null;
        node ^= Offset(unit);
        foreach (var value in utf8)
        {
            if (value == 0) return null;
            node ^= value;
            if (!TryUnit(node, out unit) || (unit & 0x800000ff) != value) return null;
            node ^= Offset(unit);
            if ((unit >> 8 & 1) == 1) return TryUnit(node, out unit) ? Replacement(unit & 0x7fffffff) : null;
        }

        return null;
    }

    private string? Replacement(uint at)
    {
        if (at >= _replacements.Length) return null;
        var rest = _replacements.AsSpan((int)at);
        return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private static uint Offset(uint unit) => unit >> 10 << (int)((unit & (1u << 9)) >> 6);

    private bool TryUnit(uint at, out uint unit)
    {
        unit = at < _units.Length ? _units[at] : 0;
        return at < _units.Length;
    }
}

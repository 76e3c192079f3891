using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// GPT-2's byte level: text is cut into words by a pattern, and each UTF-8 byte of a word is shown as one printable character,
/// so that a vocabulary of text can hold any bytes.
/// </summary>
internal static partial class ByteLevel
{
    private static readonly char[] CharacterOf = Alphabet();
    private static readonly Dictionary<char, byte> ByteOf = CharacterOf.Select(static (character, value) => (character, value))
        .ToDictionary(static entry => entry.character, static entry => (byte)entry.value);

    /// <summary>Words of a text in the byte alphabet.</summary>
    /// <param name="text">Normalized text.</param>
    /// <param name="addPrefixSpace">Puts a space before a text that begins without one.</param>
    /// <param name="useRegex">Cuts by GPT-2's pattern; otherwise the text is one word.</param>
    public static IEnumerable<string> Words(string text, bool addPrefixSpace, bool useRegex)
    {
        if (addPrefixSpace && !text.StartsWith(' ')) text = " " + text;
        return (useRegex ? Matches(Pattern(), text) : [text]).Select(Show);
    }

    /// <summary>The text of tokens in the byte alphabet; bytes that are not UTF-8 become U+FFFD.</summary>
    public static IReadOnlyList<string> Decode(IReadOnlyList<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (var token in tokens)
        {
            if (token.All(ByteOf.ContainsKey)) bytes.AddRange(token.Select(static character => ByteOf[character]));
            else bytes.AddRange(Encoding.UTF8.GetBytes(token));
        }

        return [Encoding.UTF8.GetString([.. bytes])];
    }

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    private static partial Regex Pattern();

    // .NET's patterns see UTF-16 units, in which no character beyond U+FFFF is a letter or digit. The pattern therefore runs over
    // a copy with one unit of the same class for each character; the words are cut from the text itself.
    private static IEnumerable<string> Matches(Regex pattern, string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff'))
        {
            foreach (var match in pattern.EnumerateMatches(text).ToList()) yield return text.Substring(match.Index, match.Length);
            yield break;
        }

        var shadow = new StringBuilder(text.Length);
        var starts = new List<int>(text.Length + 1);
        var position = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            starts.Add(position);
            shadow.Append(rune.IsBmp ? (char)rune.Value : Representative(rune));
            position += rune.Utf16SequenceLength;
        }

        starts.Add(position);
        foreach (var match in pattern.EnumerateMatches(shadow.ToString()).ToList())
            yield return text[starts[match.Index]..starts[match.Index + match.Length]];
    }

    private static List<(int Index, int Length)> ToList(this Regex.ValueMatchEnumerator matches)
    {
        var list = new List<(int, int)>();
        foreach (var match in matches) list.Add((match.Index, match.Length));
        return list;
    }

    private static char Representative(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => '\u05d0', // a letter without case
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => '\u0660',
        _ => '\u2603', // a symbol
    };

    private static string Show(string word) => string.Create(Encoding.UTF8.GetByteCount(word), word, static (shown, word) =>
    {
        var bytes = Encoding.UTF8.GetBytes(word);
        for (var i = 0; i < bytes.Length; i++) shown[i] = CharacterOf[bytes[i]];
    });

    // Printable Latin-1 stands for itself; the other bytes, in order, are shown from U+0100 on.
    private static char[] Alphabet()
    {
        var alphabet = new char[256];
        var shifted = 0x100;
        for (var value = 0; value < 256; value++)
            alphabet[value] = value is (>= '!' and <= '~') or (>= 0xa1 and <= 0xac) or (>= 0xae and <= 0xff) ? (char)value : (char)shifted++;
        return alphabet;
    }
}

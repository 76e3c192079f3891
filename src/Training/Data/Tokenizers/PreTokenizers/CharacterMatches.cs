using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>Matches of one code point each, by class.</summary>
internal static class CharacterMatches
{
    private static readonly bool[] AsciiMarks = [.. Enumerable.Range(0, 0x80)
        .Select(static code => char.IsPunctuation((char)code) || char.IsSymbol((char)code))];
    private static readonly bool[] AsciiDigits = [.. Enumerable.Range(0, 0x80).Select(static code => char.IsAsciiDigit((char)code))];

    public static void Whitespace(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        for (var at = 0; at < text.Length; at++)
        {
            if (char.IsWhiteSpace(text[at])) matches.Add((at, 1));
        }
    }

    /// <summary>The category Punctuation, and the symbols of ASCII.</summary>
    public static void Punctuation(ReadOnlySpan<char> text, List<(int Start, int Length)> matches) =>
        Each(text, matches, AsciiMarks, Rune.IsPunctuation);

    /// <summary>The category Number.</summary>
    public static void Digits(ReadOnlySpan<char> text, List<(int Start, int Length)> matches) =>
        Each(text, matches, AsciiDigits, Rune.IsNumber);

    /// <summary>Runs of letters, marks, decimal digits and connectors, and runs of what else is not whitespace.</summary>
    public static void Words(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        var (begin, last) = (0, ' ');
        for (var at = 0; at < text.Length;)
        {
            Rune.DecodeFromUtf16(text[at..], out var rune, out var length);
            var kind = Rune.IsWhiteSpace(rune) ? ' ' : IsWord(rune) ? 'w' : 's';
            if (kind != last)
            {
                if (last != ' ') matches.Add((begin, at - begin));
                (begin, last) = (at, kind);
            }

            at += length;
        }

        if (last != ' ') matches.Add((begin, text.Length - begin));
    }

    private static void Each(ReadOnlySpan<char> text, List<(int Start, int Length)> matches, bool[] ascii, Func<Rune, bool> belongs)
    {
        for (var at = 0; at < text.Length;)
        {
            if (char.IsAscii(text[at]))
            {
                if (ascii[text[at]]) matches.Add((at, 1));
                at++;
                continue;
            }

            Rune.DecodeFromUtf16(text[at..], out var rune, out var length);
            if (belongs(rune)) matches.Add((at, length));
            at += length;
        }
    }

    private static bool IsWord(Rune rune) =>
        rune.IsAscii
            ? char.IsAsciiLetterOrDigit((char)rune.Value) || rune.Value == '_'
            : Rune.GetUnicodeCategory(rune) is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter
                or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
                or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
                or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation;
}

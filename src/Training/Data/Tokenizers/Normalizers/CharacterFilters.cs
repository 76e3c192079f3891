using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>Normalizations that look at one code point at a time; a text that none of them touches is returned as it is.</summary>
internal static class CharacterFilters
{
    // The one character whose lower case, İ to i and a dot above, is two.
    private static readonly Rune DottedCapitalI = new(0x130);

    public static string Lowercase(string text) => Rewrite(text, char.IsAsciiLetterUpper, static (rune, result) =>
    {
        if (rune == DottedCapitalI) result.Append("i\u0307");
        else result.Append(Rune.ToLowerInvariant(rune));
    });

    /// <summary>Without the category Mark.</summary>
    public static string StripMarks(string text) => Rewrite(text, Never, static (rune, result) =>
    {
        if (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark)) result.Append(rune);
    });

    /// <summary>Without the category Nonspacing Mark.</summary>
    public static string StripNonspacingMarks(string text) => Rewrite(text, Never, static (rune, result) =>
    {
        if (Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark) result.Append(rune);
    });

    /// <summary>BERT's clean-up: no controls and no U+FFFD, every whitespace a space.</summary>
    public static string Clean(string text) => Rewrite(text, static unit => unit is < ' ' or '\u007f', static (rune, result) =>
    {
        if (Rune.IsWhiteSpace(rune) && rune.Value is '\t' or '\n' or '\r' || Rune.IsWhiteSpace(rune) && !IsOther(rune)) result.Append(' ');
        else if (rune.Value is not (0 or 0xfffd) && !IsOther(rune)) result.Append(rune);
    });

    /// <summary>A space on both sides of each ideograph.</summary>
    public static string SpaceIdeographs(string text) => Rewrite(text, Never, static (rune, result) =>
    {
        if (IsIdeograph(rune.Value)) result.Append(' ').Append(rune).Append(' ');
        else result.Append(rune);
    });

    /// <summary>SentencePiece's rules for machine translation: some controls go, some spaces and marks become a space.</summary>
    public static string Nmt(string text) => Rewrite(text, static unit => unit is < ' ' or '\u007f', static (rune, result) =>
    {
        switch (rune.Value)
        {
            case (>= 0x1 and <= 0x8) or 0xb or (>= 0xe and <= 0x1f) or 0x7f or 0x8f or 0x9f:
                break;
            case 0x9 or 0xa or 0xc or 0xd or 0x1680 or (>= 0x200b and <= 0x200f) or 0x2028 or 0x2029 or 0x2581 or 0xfeff or 0xfffd:
                result.Append(' ');
                break;
            default:
                result.Append(rune);
                break;
        }
    });

    private static bool Never(char unit) => false;

    // Copies up to the first unit that may change: one that is not ASCII, or of ASCII what the caller names.
    private static string Rewrite(string text, Func<char, bool> changesAscii, Action<Rune, StringBuilder> append)
    {
        var same = 0;
        while (same < text.Length && char.IsAscii(text[same]) && !changesAscii(text[same])) same++;
        if (same == text.Length) return text;
        var result = new StringBuilder(text, 0, same, text.Length + 16);
        for (var at = same; at < text.Length;)
        {
            var unit = text[at];
            if (char.IsAscii(unit) && !changesAscii(unit))
            {
                result.Append(unit);
                at++;
                continue;
            }

            Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out var length);
            append(rune, result);
            at += length;
        }

        return result.ToString();
    }

    private static bool IsOther(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse or UnicodeCategory.Surrogate or UnicodeCategory.OtherNotAssigned;

    private static bool IsIdeograph(int code) => code is (>= 0x4e00 and <= 0x9fff) or (>= 0x3400 and <= 0x4dbf) or (>= 0x20000 and <= 0x2a6df) or (>= 0x2a700 and <= 0x2b73f)
        or (>= 0x2b740 and <= 0x2b81f) or (>= 0x2b820 and <= 0x2ceaf) or (>= 0xf900 and <= 0xfaff) or (>= 0x2f800 and <= 0x2fa1f);
}

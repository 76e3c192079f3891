using System.Buffers;
using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>Normalizations that look at one code point at a time; a text that none of them touches is returned as it is.</summary>
internal static class CharacterFilters
{
    // The one character whose lower case, İ to i and a dot above, is two.
    private static readonly Rune DottedCapitalI = new(0x130);

    private static readonly SearchValues<char> AllAscii = Ascii(static _ => true);
    private static readonly SearchValues<char> WithoutCapitals = Ascii(static character => !char.IsAsciiLetterUpper(character));
    private static readonly SearchValues<char> WithoutControls = Ascii(static character => !char.IsControl(character));

    public static string Lowercase(string text) => Rewrite(text, WithoutCapitals, static (rune, result) =>
    {
        if (rune == DottedCapitalI) result.Append("i\u0307");
        else result.Append(Rune.ToLowerInvariant(rune));
    });

    /// <summary>Without the category Mark.</summary>
    public static string StripMarks(string text) => Rewrite(text, AllAscii, static (rune, result) =>
    {
        if (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
            or UnicodeCategory.EnclosingMark)) result.Append(rune);
    });

    /// <summary>Without the category Nonspacing Mark.</summary>
    public static string StripNonspacingMarks(string text) => Rewrite(text, AllAscii, static (rune, result) =>
    {
        if (Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark) result.Append(rune);
    });

    /// <summary>BERT's clean-up: no controls and no U+FFFD, every whitespace a space.</summary>
    public static string Clean(string text) => Rewrite(text, WithoutControls, static (rune, result) =>
    {
        if (Rune.IsWhiteSpace(rune) && rune.Value is '\t' or '\n' or '\r' || Rune.IsWhiteSpace(rune) && !IsOther(rune)) result.Append(' ');
        else if (rune.Value is not (0 or 0xfffd) && !IsOther(rune)) result.Append(rune);
    });

    /// <summary>A space on both sides of each ideograph.</summary>
    public static string SpaceIdeographs(string text) => Rewrite(text, AllAscii, static (rune, result) =>
    {
        if (IsIdeograph(rune.Value)) result.Append(' ').Append(rune).Append(' ');
        else result.Append(rune);
    });

    /// <summary>SentencePiece's rules for machine translation: some controls go, some spaces and marks become a space.</summary>
    public static string Nmt(string text) => Rewrite(text, WithoutControls, static (rune, result) =>
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

    // Copies runs of ASCII that stays as it is at once.
    private static string Rewrite(string text, SearchValues<char> same, Action<Rune, StringBuilder> append)
    {
        var at = text.AsSpan().IndexOfAnyExcept(same);
        if (at < 0) return text;
        var result = new StringBuilder(text, 0, at, text.Length + 16);
        while (at < text.Length)
        {
            Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out var length);
            append(rune, result);
            at += length;
            var run = text.AsSpan(at).IndexOfAnyExcept(same);
            if (run < 0) run = text.Length - at;
            result.Append(text, at, run);
            at += run;
        }

        return result.ToString();
    }

    private static SearchValues<char> Ascii(Func<char, bool> belongs) =>
        SearchValues.Create([.. Enumerable.Range(0, 0x80).Select(static code => (char)code).Where(belongs)]);

    private static bool IsOther(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse or UnicodeCategory.Surrogate
            or UnicodeCategory.OtherNotAssigned;

    private static bool IsIdeograph(int code) =>
        code is (>= 0x4e00 and <= 0x9fff) or (>= 0x3400 and <= 0x4dbf) or (>= 0x20000 and <= 0x2a6df) or (>= 0x2a700 and <= 0x2b73f)
            or (>= 0x2b740 and <= 0x2b81f) or (>= 0x2b820 and <= 0x2ceaf) or (>= 0xf900 and <= 0xfaff) or (>= 0x2f800 and <= 0x2fa1f);
}

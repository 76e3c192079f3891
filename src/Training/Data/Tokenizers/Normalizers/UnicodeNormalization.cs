using System.Collections;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>
/// The normalization forms of Unicode Standard Annex 15. Our own, because the process runs without ICU, where
/// <c>string.Normalize</c> returns every text as it is.
/// </summary>
internal sealed class UnicodeNormalization
{
    // Hangul syllables are composed by arithmetic (Unicode Standard, 3.12).
    private const int SyllableBase = 0xac00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11a7;
    private const int Leads = 19, Vowels = 21, Tails = 28, Syllables = Leads * Vowels * Tails;

    private static readonly Lazy<UnicodeNormalization>[] Forms = [.. Enumerable.Range(0, 4)
        .Select(static form => new Lazy<UnicodeNormalization>(() => new UnicodeNormalization(form >= 2, form % 2 == 1)))];

    private readonly bool _compatible;
    private readonly bool _composed;
    private readonly BitArray _inert;

    private UnicodeNormalization(bool compatible, bool composed) =>
        (_compatible, _composed, _inert) = (compatible, composed, UnicodeTable.Instance.Inert(compatible, composed));

    /// <summary>NFD, NFC, NFKD or NFKC, as a function of a text without lone surrogates.</summary>
    public static Func<string, string> Form(bool compatible, bool composed)
    {
        var form = Forms[(compatible ? 2 : 0) + (composed ? 1 : 0)];
        return text => Ascii.IsValid(text) ? text : form.Value.Normalize(text);
    }

    private string Normalize(string text)
    {
        var same = 0;
        while (same < text.Length && _inert[text[same]]) same++;
        if (same == text.Length) return text;
        if (same > 0) same--; // what stands before may compose with what follows
        var codes = Decompose(text.AsSpan(same));
        if (_composed) Compose(codes);
        var result = new StringBuilder(text, 0, same, text.Length + 16);
        foreach (var code in codes) result.Append(new Rune(code));
        return result.ToString();
    }

    private List<int> Decompose(ReadOnlySpan<char> text)
    {
        var table = UnicodeTable.Instance;
        var codes = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            var code = rune.Value;
            if (code - SyllableBase is >= 0 and < Syllables and var syllable)
            {
                codes.Add(LeadBase + syllable / (Vowels * Tails));
                codes.Add(VowelBase + syllable % (Vowels * Tails) / Tails);
                if (syllable % Tails > 0) codes.Add(TailBase + syllable % Tails);
            }
            else if (!rune.IsAscii && table.Decompose(code, _compatible) is { } mapping) codes.AddRange(mapping);
            else codes.Add(code);
        }

        Order(codes, table);
        return codes;
    }

    // Marks after a base stand in the order of their classes; of equal class, as they came.
    private static void Order(List<int> codes, UnicodeTable table)
    {
        for (var begin = 0; begin < codes.Count; begin++)
        {
            if (codes[begin] < 0x300 || table.ClassOf(codes[begin]) == 0) continue;
            var end = begin + 1;
            while (end < codes.Count && table.ClassOf(codes[end]) > 0) end++;
            if (end - begin > 1)
            {
                var ordered = codes.GetRange(begin, end - begin).OrderBy(code => table.ClassOf(code)).ToArray();
                for (var i = 0; i < ordered.Length; i++) codes[begin + i] = ordered[i];
            }

            begin = end;
        }
    }

    // Joins each character to the last starter unless one between them, of the same class or a starter, blocks it.
    private static void Compose(List<int> codes)
    {
        var table = UnicodeTable.Instance;
        var (starter, written, lastClass) = (-1, 0, 0);
        for (var i = 0; i < codes.Count; i++)
        {
            var (code, combining) = (codes[i], table.ClassOf(codes[i]));
            var adjacent = starter >= 0 && starter == written - 1;
            if (starter >= 0 && (adjacent || (combining > lastClass && lastClass > 0))
                && TryJoin(table, codes[starter], code, out var joined))
            {
                codes[starter] = joined;
                continue;
            }

            if (combining == 0) starter = written;
            lastClass = combining;
            codes[written++] = code;
        }

        codes.RemoveRange(written, codes.Count - written);
    }

    private static bool TryJoin(UnicodeTable table, int first, int second, out int joined)
    {
        if (first - LeadBase is >= 0 and < Leads and var lead && second - VowelBase is >= 0 and < Vowels and var vowel)
        {
            joined = SyllableBase + (lead * Vowels + vowel) * Tails;
            return true;
        }

        if (first - SyllableBase is >= 0 and < Syllables and var syllable && syllable % Tails == 0
            && second - TailBase is > 0 and < Tails and var tail)
        {
            joined = first + tail;
            return true;
        }

        return table.TryCompose(first, second, out joined);
    }
}

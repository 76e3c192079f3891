using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// .NET's expressions see UTF-16 units, in which no character beyond U+FFFF is a letter or digit. An expression therefore runs over
/// a copy with one unit of the same category for each such character.
/// </summary>
internal static class CodePointRegex
{
    // One rarely named character of the basic plane for each category, in the order of the enumeration: Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No
    // Zs Zl Zp Cc Cf Cs Co Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Cn. Letters are without case, except where that is their category.
    private const string Representatives =
        "\u03d2\u0138\u1fbc\u02c0\u05d0\u0591\u0903\u0488\u0660\u16ee\u09f4\u2005\u2028\u2029"
        + "\u0080\u200b\ufffd\ue000\u203f\u2e17\u2045\u2046\u2e02\u2e03\u2020\u2044\u20a0\u02c2\u2603\u0378";

    /// <summary>Appends start and length of each match that is not empty.</summary>
    public static void Match(Regex regex, ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        if (!text.ContainsAnyInRange('\ud800', '\udfff'))
        {
            foreach (var match in regex.EnumerateMatches(text))
            {
                if (match.Length > 0) matches.Add((match.Index, match.Length));
            }

            return;
        }

        var shadow = new StringBuilder(text.Length);
        var starts = new List<int>(text.Length + 1);
        var position = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            starts.Add(position);
            shadow.Append(rune.IsBmp ? (char)rune.Value : Representatives[(int)Rune.GetUnicodeCategory(rune)]);
            position += rune.Utf16SequenceLength;
        }

        starts.Add(position);
        foreach (var match in regex.EnumerateMatches(shadow.ToString()))
        {
            if (match.Length > 0) matches.Add((starts[match.Index], starts[match.Index + match.Length] - starts[match.Index]));
        }
    }
}

using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>The tokens <c>&lt;0x00&gt;</c> to <c>&lt;0xFF&gt;</c> of a vocabulary, which spell what nothing else in it does.</summary>
internal sealed class ByteTokens(IReadOnlyDictionary<string, int> vocabulary)
{
    private readonly int[] _ids = [.. Enumerable.Range(0, 256).Select(value => vocabulary.GetValueOrDefault(Spelling((byte)value), -1))];

    /// <summary>The tokens of a text's bytes.</summary>
    public static IEnumerable<string> Spell(ReadOnlySpan<char> text) => Encoding.UTF8.GetBytes(text.ToArray()).Select(Spelling);

    /// <summary>Appends the UTF-8 bytes of a text; nothing, and false, where the vocabulary lacks one of them.</summary>
    public bool TryAppend(ReadOnlySpan<char> text, List<int> ids)
    {
        var begin = ids.Count;
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in text.EnumerateRunes())
        {
            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)])
            {
                if (_ids[value] < 0)
                {
                    ids.RemoveRange(begin, ids.Count - begin);
                    return false;
                }

                ids.Add(_ids[value]);
            }
        }

        return true;
    }

    private static string Spelling(byte value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");
}

using System.Buffers;
using System.Text;
using System.Text.RegularExpressions;

namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>
/// GPT-2's byte level: text is cut into words by a pattern, and each UTF-8 byte of a word is shown as one printable character,
/// so that a vocabulary of text can hold any bytes.
/// </summary>
internal static partial class ByteLevel
{
    private static readonly char[] CharacterOf = Alphabet();
    private static readonly short[] ByteOf = Inverse();

    /// <summary>Words in the byte alphabet.</summary>
    /// <param name="pieces">Normalized text.</param>
    /// <param name="addPrefixSpace">Puts a space before a piece that begins without one.</param>
    /// <param name="useRegex">Cuts by GPT-2's pattern; otherwise a piece is one word.</param>
    public static List<Piece> Words(List<Piece> pieces, bool addPrefixSpace, bool useRegex)
    {
        if (addPrefixSpace)
            pieces = [.. pieces.Select(static piece =>
                piece.Span.StartsWith(' ') ? piece : new Piece(string.Concat(" ", piece.Span), 0, piece.Length + 1, piece.Begins))];
        if (useRegex)
            pieces = Splitter.Split(pieces, static (text, matches) => CodePointRegex.Match(Gpt2(), text, matches), SplitBehavior.Isolated,
                invert: false);
        return Show(pieces);
    }

    /// <summary>A text in the byte alphabet.</summary>
    public static string Show(string text) => Show([new Piece(text, 0, text.Length, false)])[0].Text;

    /// <summary>The text of tokens in the byte alphabet; bytes that are not UTF-8 become U+FFFD.</summary>
    public static IReadOnlyList<string> Decode(IReadOnlyList<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (var token in tokens)
        {
            if (token.All(static character => character < ByteOf.Length && ByteOf[character] >= 0))
                bytes.AddRange(token.Select(static character => (byte)ByteOf[character]));
            else bytes.AddRange(Encoding.UTF8.GetBytes(token));
        }

        return [Encoding.UTF8.GetString([.. bytes])];
    }

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant)]
    private static partial Regex Gpt2();

    // All pieces become parts of one string.
    private static List<Piece> Show(List<Piece> pieces)
    {
        var shown = ArrayPool<char>.Shared.Rent(pieces.Sum(static piece => piece.Length) * 3); // a UTF-16 unit is at most three bytes
        var lengths = new int[pieces.Count];
        var at = 0;
        for (var i = 0; i < lengths.Length; i++)
        {
            var begin = at;
            at += Show(pieces[i].Span, shown.AsSpan(at));
            lengths[i] = at - begin;
        }

        var text = new string(shown, 0, at);
        ArrayPool<char>.Shared.Return(shown);
        var result = new List<Piece>(lengths.Length);
        at = 0;
        for (var i = 0; i < lengths.Length; i++)
        {
            result.Add(new Piece(text, at, lengths[i], pieces[i].Begins));
            at += lengths[i];
        }

        return result;
    }

    private static int Show(ReadOnlySpan<char> text, Span<char> shown)
    {
        var count = 0;
        Span<byte> utf8 = stackalloc byte[4];
        for (var at = 0; at < text.Length;)
        {
            if (char.IsAscii(text[at]))
            {
                shown[count++] = CharacterOf[text[at++]];
                continue;
            }

            Rune.DecodeFromUtf16(text[at..], out var rune, out var length);
            foreach (var value in utf8[..rune.EncodeToUtf8(utf8)]) shown[count++] = CharacterOf[value];
            at += length;
        }

        return count;
    }

    // Printable Latin-1 stands for itself; the other bytes, in order, are shown from U+0100 on.
    private static char[] Alphabet()
    {
        var alphabet = new char[256];
        var shifted = 0x100;
        for (var value = 0; value < 256; value++)
            alphabet[value] = value is (>= '!' and <= '~') or (>= 0xa1 and <= 0xac) or (>= 0xae and <= 0xff)
                ? (char)value : (char)shifted++;
        return alphabet;
    }

    private static short[] Inverse()
    {
        var inverse = new short[CharacterOf.Max() + 1];
        Array.Fill(inverse, (short)-1);
        for (short value = 0; value < 256; value++) inverse[CharacterOf[value]] = value;
        return inverse;
    }
}

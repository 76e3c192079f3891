using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>Steps from tokens to text; each takes the strings that the one before it left.</summary>
internal static class Decoders
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Runs of byte tokens such as <c>&lt;0xE2&gt;</c> become text, or one U+FFFD per byte where they are not UTF-8.</summary>
    public static IReadOnlyList<string> ByteFallback(IReadOnlyList<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        var bytes = new List<byte>();
        foreach (var token in tokens)
        {
            if (AsByte(token) is { } value)
            {
                bytes.Add(value);
                continue;
            }

            Flush();
            result.Add(token);
        }

        Flush();
        return result;

        void Flush()
        {
            if (bytes.Count == 0) return;
            result.Add(Text([.. bytes]));
            bytes.Clear();
        }
    }

    /// <summary>Takes up to <paramref name="start"/> and <paramref name="stop"/> of a character from both ends of each string.</summary>
    public static IReadOnlyList<string> Strip(IReadOnlyList<string> tokens, char content, int start, int stop) => [.. tokens.Select(token =>
    {
        var (begin, end) = (0, token.Length);
        while (begin < start && begin < end && token[begin] == content) begin++;
        while (token.Length - end < stop && end > begin && token[end - 1] == content) end--;
        return token[begin..end];
    })];

    /// <summary>Joins pieces of words: those with the prefix to the word before them, the others after a space.</summary>
    public static IReadOnlyList<string> WordPiece(IReadOnlyList<string> tokens, string prefix, bool cleanup) =>
        [.. tokens.Select((token, index) =>
        {
            var text = index == 0 ? token : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..] : " " + token;
            return cleanup ? CleanUp(text) : text;
        })];

    /// <summary>The mark of a word's end becomes a space, in the last token nothing.</summary>
    public static IReadOnlyList<string> EndOfWord(IReadOnlyList<string> tokens, string suffix) =>
        [.. tokens.Select((token, index) => token.Replace(suffix, index == tokens.Count - 1 ? "" : " ", StringComparison.Ordinal))];

    // English punctuation and contractions lose the space before them.
    private static string CleanUp(string text) => !text.Contains(' ') ? text : text
        .Replace(" .", ".", StringComparison.Ordinal).Replace(" ?", "?", StringComparison.Ordinal)
        .Replace(" !", "!", StringComparison.Ordinal).Replace(" ,", ",", StringComparison.Ordinal)
        .Replace(" ' ", "'", StringComparison.Ordinal).Replace(" n't", "n't", StringComparison.Ordinal)
        .Replace(" 'm", "'m", StringComparison.Ordinal)
        .Replace(" do not", " don't", StringComparison.Ordinal).Replace(" 's", "'s", StringComparison.Ordinal)
        .Replace(" 've", "'ve", StringComparison.Ordinal).Replace(" 're", "'re", StringComparison.Ordinal);

    private static byte? AsByte(string token) =>
        token is ['<', '0', 'x', _, _, '>']
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            ? value : null;

    private static string Text(byte[] bytes)
    {
        try
        {
            // A byte order mark that begins a run is dropped: so does the decoder that the golden cases come from.
            return Strict.GetString(bytes.AsSpan().StartsWith("\ufeff"u8) ? bytes.AsSpan(3) : bytes);
        }
        catch (DecoderFallbackException)
        {
            return new string('\ufffd', bytes.Length);
        }
    }
}

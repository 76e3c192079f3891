using System.Text;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Texts in which words, numbers, marks, spaces and rare characters stand side by side in any order.</summary>
internal static class RandomTexts
{
    private static readonly string[] Pieces =
    [
        "a", "the", "It's", "I'LL", "naïve", "e\u0301", "Straße", "日本語", "Ελλ", "हिन्दी", "0", "7", "1234567", "½", "Ⅻ", "٣",
        " ", "  ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u2003", ".", "!", "...", "--", "/", "</", "=", "€", "👍", "👩‍🚀", "_", "\u0004",
        "HTTPParser", "x²",
    ];

    public static IEnumerable<string> Of(int seed, int count)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var text = new StringBuilder();
            for (var left = random.Next(1, 12); left > 0; left--) text.Append(Pieces[random.Next(Pieces.Length)]);
            yield return text.ToString();
        }
    }
}

using System.Globalization;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Merges by rank give what merging by score gives, which stands here as SentencePiece and llama.cpp do it.</summary>
public sealed class SentencePieceMergesTests
{
    private const string Alphabet = "abc\u2581";

    [Fact]
    public void Every_text_of_a_made_vocabulary_is_cut_as_by_its_scores()
    {
        var (checkedTexts, refused) = Check(seed: 1, vocabularies: 400, static (random, _) => -random.NextSingle() * 100);
        Assert.Equal((400 * 15, 0), (checkedTexts, refused));
    }

    [Fact]
    public void Equal_scores_are_refused_or_cut_as_by_the_scores()
    {
        var (checkedTexts, refused) = Check(
            seed: 2, vocabularies: 600, static (random, _) => random.Next(4) == 0 ? -7 : -random.NextSingle() * 100);
        Assert.True(checkedTexts > 1_000, $"{checkedTexts} texts");
        Assert.True(refused > 100, $"{refused} refused");
    }

    [Fact]
    public void Runs_of_one_character_with_one_score_are_cut_as_by_their_scores()
    {
        var (checkedTexts, refused) = Check(
            seed: 4, vocabularies: 300, static (random, piece) => IsRun(piece) ? -50 : -random.NextSingle() * 100, longestRun: 8);
        Assert.True(checkedTexts > 1_000, $"{checkedTexts} texts");
        Assert.True(refused > 10, $"{refused} refused"); // a piece that is made with such a run and goes before it
    }

    [Theory]
    [InlineData("ab", "cb", true)] // never side by side
    [InlineData("ab", "bc", true)] // always ab on the left
    [InlineData("ab", "ba", false)] // either on the left
    [InlineData("ab", "abc", false)] // the second is made with the first
    public void Two_pieces_of_one_score_are_taken_where_the_text_says_nothing_of_their_order(string one, string other, bool isTaken)
    {
        var pieces = Alphabet.Select((letter, index) => (letter.ToString(), -10f - index)).Append((one, -1)).Append((other, -1)).ToList();
        if (isTaken) Assert.NotNull(Load(pieces));
        else
        {
            var message = Assert.Throws<BadInputException>(() => Load(pieces)).Message;
            Assert.Contains($"gives \"{one}\" and \"{other}\" the same score -1", message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_piece_of_a_character_that_is_no_token_is_refused()
    {
        var message = Assert.Throws<BadInputException>(() => Load([("a", -1), ("za", -2)])).Message;
        Assert.Contains("tokenizer.ggml.tokens has \"za\" and not \"z\", which it is merged of", message, StringComparison.Ordinal);
    }

    /// <summary>
    /// A genuine vocabulary of SentencePiece, whose ids order its scores, against its genuine <c>tokenizer.json</c>, which has every pair
    /// of each piece.
    /// </summary>
    [SharedFact]
    public void A_genuine_vocabulary_is_cut_as_by_its_scores_and_as_by_its_own_merges()
    {
        var folder = SharedFolder.Of("tokenizers", "phi-3-mini");
        var vocabulary = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "tokenizer.json"))).RootElement.GetProperty("model")
            .GetProperty("vocab").EnumerateObject().OrderBy(static entry => entry.Value.GetInt32())
            .Select(static entry => entry.Name).ToArray();
        var (kinds, scores) = (vocabulary.Select(KindOf).ToArray(), vocabulary.Select(ScoreOf).ToArray());
        var values = MadeMetadata.Llama();
        (values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"], values["tokenizer.ggml.scores"]) = (vocabulary,
            kinds, scores);
        var (made, own) = (Tokenizer.Load(new GgufDocuments(MadeMetadata.Of(values))), Tokenizer.Load(folder));
        var direct = new ByScore([.. vocabulary.Zip(scores)]);

        foreach (var text in Texts())
        {
            var ids = made.Encode(text, addSpecialTokens: false);
            Assert.Equal(own.Encode(text, addSpecialTokens: false), ids);
            if (text.Length > 0 && !text.Contains('<')) Assert.Equal(direct.Encode("\u2581" + text.Replace(' ', '\u2581')), ids);
        }
    }

    private static IEnumerable<string> Texts()
    {
        foreach (var folder in SharedFolder.FoldersOf("fixtures", "tokenizers"))
        {
            var path = SharedFolder.Of("fixtures", "tokenizers", folder, "cases.jsonl");
            foreach (var line in File.Exists(path) ? File.ReadLines(path) : [])
            {
                var text = JsonDocument.Parse(line).RootElement.GetProperty("text").GetString()!;
                if (!text.Contains("<|", StringComparison.Ordinal) && !text.Contains("</s>", StringComparison.Ordinal)) yield return text;
            }
        }

        var random = new Random(3);
        foreach (var length in Enumerable.Range(0, 300))
            yield return string.Concat(Enumerable.Range(0, length % 60).Select(_ => (char)random.Next(32, 127))).Replace('<', '=');
        yield return new string(' ', 77) + new string('=', 77) + new string('a', 77);
    }

    // The vocabulary's pieces of spaces were added to it and share the lowest score.
    private static float ScoreOf(string token, int id) => IsRun(token) ? -1e9f : -id;

    private static bool IsRun(string token) => token.Length > 1 && token.All(static letter => letter == '\u2581');

    private static int KindOf(string token, int id) => id == 0 ? 2 : id < 3 ? 3
        : token.StartsWith("<0x", StringComparison.Ordinal) && token.Length == 6 ? 6 : 1;

    private static (int Checked, int Refused) Check(int seed, int vocabularies, Func<Random, string, float> score, int longestRun = 0)
    {
        var random = new Random(seed);
        var (texts, refused) = (0, 0);
        for (var i = 0; i < vocabularies; i++)
        {
            var pieces = Pieces(random, score, longestRun);
            Tokenizer tokenizer;
            try
            {
                tokenizer = Load(pieces);
            }
            catch (BadInputException exception) when (exception.Message.Contains("the same score", StringComparison.Ordinal))
            {
                refused++;
                continue;
            }

            var direct = new ByScore([("<unk>", 0), ("<0x7A>", 0), .. pieces]);
            for (var text = 0; text < 15; text++, texts++)
            {
                var word = Word(random, Alphabet + "z", random.Next(1, 40)); // z has no token, but its byte has
                if (longestRun > 0) word = word.Replace("b", new string('\u2581', random.Next(30)), StringComparison.Ordinal);
                var (ids, expected) = (tokenizer.Encode(word, addSpecialTokens: false), direct.Encode(word));
                Assert.True(ids.SequenceEqual(expected),
                    $"vocabulary {i}, '{word}': {string.Join(' ', ids)}, by score {string.Join(' ', expected)}: "
                        + string.Join(", ", pieces));
            }
        }

        return (texts, refused);
    }

    // Joins of what is there, and now and then a text that nothing makes.
    private static List<(string Piece, float Score)> Pieces(Random random, Func<Random, string, float> score, int longestRun)
    {
        var pieces = Alphabet.Select(static letter => letter.ToString()).ToList();
        for (var length = 2; length <= longestRun; length++)
        {
            if (random.Next(4) > 0) pieces.Add(new string('\u2581', length));
        }

        for (var tries = random.Next(3, 30); tries > 0; tries--)
        {
            var piece = random.Next(8) == 0
                ? Word(random, Alphabet, random.Next(2, 6))
                : pieces[random.Next(pieces.Count)] + pieces[random.Next(pieces.Count)];
            if (piece.Length <= 12 && !pieces.Contains(piece)) pieces.Add(piece);
        }

        return [.. pieces.Select(piece => (piece, score(random, piece)))];
    }

    private static string Word(Random random, string alphabet, int length) =>
        string.Concat(Enumerable.Range(0, length).Select(_ => alphabet[random.Next(alphabet.Length)]));

    private static Tokenizer Load(IReadOnlyList<(string Piece, float Score)> pieces)
    {
        var values = MadeMetadata.Llama();
        values["tokenizer.ggml.tokens"] = pieces.Select(static entry => entry.Piece).Prepend("<0x7A>").Prepend("<unk>").ToArray();
        values["tokenizer.ggml.scores"] = pieces.Select(static entry => entry.Score).Prepend(0).Prepend(0).ToArray();
        values["tokenizer.ggml.token_type"] = pieces.Select(static _ => 1).Prepend(6).Prepend(2).ToArray();
        values["tokenizer.ggml.add_space_prefix"] = false;
        values.Remove("tokenizer.ggml.bos_token_id");
        values.Remove("tokenizer.ggml.eos_token_id");
        return Tokenizer.Load(new GgufDocuments(MadeMetadata.Of(values)));
    }

    /// <summary>Of all neighbours, joins those whose joined text has the highest score, leftmost first.</summary>
    private sealed class ByScore(IReadOnlyList<(string Piece, float Score)> pieces)
    {
        private readonly Dictionary<string, int> _ids = pieces.Select(static (entry, id) => (entry.Piece, id)).ToDictionary();

        public int[] Encode(string word)
        {
            var parts = word.EnumerateRunes().Select(static rune => rune.ToString()).ToList();
            while (true)
            {
                var best = -1;
                for (var i = 0; i + 1 < parts.Count; i++)
                {
                    if (ScoreAt(i) is { } score && (best < 0 || score > ScoreAt(best))) best = i;
                }

                if (best < 0) break;
                parts[best] += parts[best + 1];
                parts.RemoveAt(best + 1);
            }

            return [.. parts.SelectMany(part => _ids.TryGetValue(part, out var id) ? [id]
                : Encoding.UTF8.GetBytes(part).Select(value => _ids[string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>")]))];

            float? ScoreAt(int at) => _ids.TryGetValue(parts[at] + parts[at + 1], out var id) ? pieces[id].Score : null;
        }
    }
}

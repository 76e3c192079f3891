using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace FedRLora.Generator.Text;

/// <summary>Trains a byte-level byte-pair encoding in the manner of GPT-2 and writes it as <c>tokenizer.json</c>.</summary>
internal static partial class BpeTrainer
{
    private static readonly string[] SpecialTokens = ["<s>", "</s>", "<pad>"];
    private static readonly char[] ByteSymbols = SymbolsOfBytes();
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>
    /// Merges until no pair of symbols occurs twice or <paramref name="maxMerges"/> is reached; ties go to the smaller pair in ordinal
    /// order.
    /// </summary>
    public static IReadOnlyList<(string Left, string Right)> Train(IEnumerable<string> texts, int maxMerges)
    {
        var words = texts.SelectMany(text => Pieces().Matches(text).Select(piece => piece.Value))
            .GroupBy(piece => piece)
            .Select(
                group => (Symbols: Encoding.UTF8.GetBytes(group.Key).Select(b => ByteSymbols[b].ToString()).ToList(), Count: group.Count()))
            .ToList();
        var merges = new List<(string, string)>();
        while (merges.Count < maxMerges)
        {
            var pairs = new Dictionary<(string Left, string Right), int>();
            foreach (var (symbols, count) in words)
            {
                for (var i = 0; i + 1 < symbols.Count; i++)
                    pairs[(symbols[i], symbols[i + 1])] = pairs.GetValueOrDefault((symbols[i], symbols[i + 1])) + count;
            }
            if (pairs.Count == 0)
                break;
            var best = pairs.OrderByDescending(p => p.Value).ThenBy(p => p.Key.Left, StringComparer.Ordinal)
                .ThenBy(p => p.Key.Right, StringComparer.Ordinal).First();
            if (best.Value < 2)
                break;
            merges.Add(best.Key);
            foreach (var (symbols, _) in words)
                Merge(symbols, best.Key);
        }
        return merges;
    }

    /// <summary>Writes tokenizer.json and tokenizer_config.json. Ids: special tokens, bytes, merges.</summary>
    public static void Write(string folder, IReadOnlyList<(string Left, string Right)> merges, int contextLength)
    {
        var vocabulary = SpecialTokens.Concat(ByteSymbols.Select(c => c.ToString()).Order(StringComparer.Ordinal))
            .Concat(merges.Select(m => m.Left + m.Right))
            .Distinct().Select((token, id) => (token, id)).ToDictionary(p => p.token, p => p.id);
        var byteLevel = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = true };
        WriteJson(Path.Combine(folder, "tokenizer.json"), new
        {
            version = "1.0",
            truncation = (object?)null,
            padding = (object?)null,
            added_tokens = SpecialTokens.Select((content, id) =>
                new { id, content, single_word = false, lstrip = false, rstrip = false, normalized = false, special = true }),
            normalizer = (object?)null,
            pre_tokenizer = byteLevel,
            post_processor = byteLevel,
            decoder = byteLevel,
            model = new
            {
                type = "BPE",
                dropout = (object?)null,
                unk_token = (object?)null,
                continuing_subword_prefix = (object?)null,
                end_of_word_suffix = (object?)null,
                fuse_unk = false,
                byte_fallback = false,
                vocab = vocabulary,
                merges = merges.Select(m => $"{m.Left} {m.Right}"),
            },
        });
        WriteJson(Path.Combine(folder, "tokenizer_config.json"), new
        {
            tokenizer_class = "PreTrainedTokenizerFast",
            bos_token = SpecialTokens[0],
            eos_token = SpecialTokens[1],
            pad_token = SpecialTokens[2],
            add_bos_token = false,
            add_eos_token = false,
            model_max_length = contextLength,
            clean_up_tokenization_spaces = false,
        });
    }

    private static void Merge(List<string> symbols, (string Left, string Right) pair)
    {
        for (var i = 0; i + 1 < symbols.Count; i++)
        {
            if (symbols[i] != pair.Left || symbols[i + 1] != pair.Right)
                continue;
            symbols[i] += symbols[i + 1];
            symbols.RemoveAt(i + 1);
        }
    }

    /// <summary>GPT-2's printable stand-in for each byte.</summary>
    private static char[] SymbolsOfBytes()
    {
        var next = 256;
        return [.. Enumerable.Range(0, 256)
            .Select(b => b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF) ? (char)b : (char)next++)];
    }

    private static void WriteJson(string path, object content) =>
        File.WriteAllText(path, JsonSerializer.Serialize(content, Json) + "\n");

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")]
    private static partial Regex Pieces();
}

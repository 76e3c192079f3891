using System.Text.Json;

namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>Reads the <c>model</c> of a <c>tokenizer.json</c>.</summary>
internal static class ModelReader
{
    public static ITokenModel Read(Setting model) => TypeOf(model) switch
    {
        "BPE" => BytePairEncoding(model),
        "Unigram" => Unigram(model),
        "WordPiece" => WordPiece(model),
        "WordLevel" => WordLevel(model),
        var other => throw model.Named(other).Bad("is not implemented"),
    };

    // Old files do not name the type; what they hold says it.
    private static string TypeOf(Setting model) =>
        model.OptionalText("type")
        ?? (model.Has("merges") ? "BPE" : model.Get("vocab").ValueKind == JsonValueKind.Array ? "Unigram" : model.Type);

    private static BytePairEncoding BytePairEncoding(Setting model)
    {
        model.Only("type", "vocab", "merges", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges", "continuing_subword_prefix",
            "end_of_word_suffix");
        var vocabulary = Vocabulary(model);
        var settings = new BytePairSettings
        {
            UnknownId = model.OptionalText("unk_token") is { Length: > 0 } token ? IdOf(model, vocabulary, "unk_token", token) : null,
            FuseUnknown = model.Flag("fuse_unk"),
            ByteFallback = model.Flag("byte_fallback"),
            IgnoreMerges = model.Flag("ignore_merges"),
            ContinuingPrefix = model.OptionalText("continuing_subword_prefix") ?? "",
            EndSuffix = model.OptionalText("end_of_word_suffix") ?? "",
        };
        return new BytePairEncoding(vocabulary, Merges(model, vocabulary, settings.ContinuingPrefix), settings);
    }

    private static Unigram Unigram(Setting model)
    {
        model.Only("type", "vocab", "unk_id", "byte_fallback");
        var pieces = new List<(string, double)>();
        foreach (var entry in model.List("vocab"))
        {
            var valid = entry.ValueKind == JsonValueKind.Array && entry.GetArrayLength() == 2 && entry[0].ValueKind == JsonValueKind.String
                && entry[1].ValueKind == JsonValueKind.Number;
            if (!valid || !entry[1].TryGetDouble(out var score) || !double.IsFinite(score) || Math.Abs(score) > 1e30)
                throw model.Bad($"vocab[{pieces.Count}] is {Setting.Shorten(entry)}, expected [piece, finite score]");
            pieces.Add((entry[0].GetString()!, score));
        }

        // Without one, text outside the vocabulary could not be encoded at all.
        var unknown = model.Get("unk_id").ValueKind == JsonValueKind.Undefined
            ? throw model.Bad("has no unk_id, expected the index of the unknown token in vocab") : model.TokenId("unk_id");
        return unknown < pieces.Count
            ? new Unigram(pieces, unknown, model.Flag("byte_fallback"))
            : throw model.Bad($"unk_id is {unknown}, expected less than the {pieces.Count} entries of vocab");
    }

    private static WordPiece WordPiece(Setting model)
    {
        model.Only("type", "vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word");
        var vocabulary = Vocabulary(model);
        var unknown = IdOf(model, vocabulary, "unk_token", model.OptionalText("unk_token") ?? "[UNK]");
        return new WordPiece(vocabulary, unknown, model.OptionalText("continuing_subword_prefix") ?? "##",
            model.Count("max_input_chars_per_word", absent: 100));
    }

    private static WordLevel WordLevel(Setting model)
    {
        model.Only("type", "vocab", "unk_token");
        var vocabulary = Vocabulary(model);
        return new WordLevel(vocabulary, IdOf(model, vocabulary, "unk_token", model.OptionalText("unk_token") ?? "<unk>"));
    }

    private static int IdOf(Setting model, Dictionary<string, int> vocabulary, string key, string token) =>
        vocabulary.TryGetValue(token, out var id) ? id : throw model.Bad($"{key} \"{Setting.Shorten(token)}\" is not in the vocabulary");

    private static Dictionary<string, int> Vocabulary(Setting model)
    {
        if (model.Get("vocab") is not { ValueKind: JsonValueKind.Object } section) throw model.Bad("vocab is missing or not an object");
        var vocabulary = new Dictionary<string, int>(section.GetPropertyCount(), StringComparer.Ordinal);
        var taken = new HashSet<int>(section.GetPropertyCount());
        foreach (var entry in section.EnumerateObject())
        {
            var id = model.TokenId(entry.Value, "vocab");
            if (!vocabulary.TryAdd(entry.Name, id)) throw model.Bad($"vocab has \"{Setting.Shorten(entry.Name)}\" twice");
            if (!taken.Add(id)) throw model.Bad($"vocab has id {id} twice, the second time for \"{Setting.Shorten(entry.Name)}\"");
        }

        return vocabulary;
    }

    private static Dictionary<(int, int), (int, int)> Merges(Setting model, Dictionary<string, int> vocabulary, string prefix)
    {
        var merges = new Dictionary<(int, int), (int, int)>(model.List("merges").Count());
        var rank = 0;
        foreach (var entry in model.List("merges"))
        {
            var (left, right) = Pair(model, entry, rank);
            // A joined piece carries the continuing prefix once, at its front.
            var rest = right.StartsWith(prefix, StringComparison.Ordinal)
                ? right[prefix.Length..]
                : throw model.Bad($"merges[{rank}] has \"{Setting.Shorten(right)}\" on its right, expected it to begin with \"{prefix}\"");
            if (!vocabulary.TryGetValue(left, out var first) || !vocabulary.TryGetValue(right, out var second)
                || !vocabulary.TryGetValue(left + rest, out var joined))
                throw model.Bad($"merges[{rank}] joins \"{Setting.Shorten(left)}\" and \"{Setting.Shorten(right)}\", "
                    + "expected both and the result in the vocabulary");
            merges[(first, second)] = (rank++, joined);
        }

        return merges;
    }

    private static (string Left, string Right) Pair(Setting model, JsonElement entry, int rank)
    {
        if (entry.ValueKind == JsonValueKind.Array && entry.GetArrayLength() == 2 && entry[0].ValueKind == JsonValueKind.String
            && entry[1].ValueKind == JsonValueKind.String)
            return (entry[0].GetString()!, entry[1].GetString()!);
        return entry.ValueKind == JsonValueKind.String && entry.GetString()!.Split(' ', 3) is [var left, var right]
            ? (left, right)
            : throw model.Bad($"merges[{rank}] is {Setting.Shorten(entry)}, expected \"left right\" or [left, right]");
    }
}

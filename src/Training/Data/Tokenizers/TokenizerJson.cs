using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// Reads <c>tokenizer.json</c>. Every type and every setting that is not implemented is refused by name: a tokenizer that is
/// nearly right trains a model on wrong ids without a sign.
/// </summary>
internal sealed class TokenizerJson
{
    private static readonly string[] Sections = ["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor", "decoder"];

    private readonly string _path;

    private TokenizerJson(string path) => _path = path;

    /// <summary>Reads and checks the whole file.</summary>
    /// <exception cref="BadInputException">Not valid, or it uses a part that is not implemented.</exception>
    public static TokenizerParts Read(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            using var document = JsonDocument.Parse(stream);
            return new TokenizerJson(path).Parts(document.RootElement);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    private TokenizerParts Parts(JsonElement root)
    {
        // truncation and padding are defaults for callers; callers here say themselves what they want.
        RefuseOthers(root, "tokenizer.json", Sections);
        var normalizer = Normalizer(Section(root, "normalizer"));
        return new TokenizerParts
        {
            Normalizer = normalizer,
            Added = new AddedTokens(ReadAdded(Section(root, "added_tokens")), normalizer),
            PreTokenizer = PreTokenizer(Section(root, "pre_tokenizer")),
            Model = Model(Section(root, "model") ?? throw Bad("model is missing")),
            PostProcessor = PostProcessor(Section(root, "post_processor")),
            Decoder = Decoder(Section(root, "decoder")),
        };
    }

    private List<AddedToken> ReadAdded(JsonElement? section)
    {
        if (section is not { } tokens) return [];
        if (tokens.ValueKind != JsonValueKind.Array) throw Bad($"added_tokens is {tokens.ValueKind}, expected an array");
        return [.. tokens.EnumerateArray().Select(token =>
        {
            RefuseOthers(token, "added_tokens", "id", "content", "special", "normalized", "single_word", "lstrip", "rstrip");
            return new AddedToken(
                TokenId(token.TryGetProperty("id", out var id) ? id : default, "added_tokens.id"), Text(token, "content", "added_tokens"),
                Flag(token, "special"), Flag(token, "normalized", absent: true), Flag(token, "single_word"), Flag(token, "lstrip"), Flag(token, "rstrip"));
        })];
    }

    private Func<string, string> Normalizer(JsonElement? section)
    {
        if (section is not { } normalizer) return static text => text;
        switch (TypeOf(normalizer, "normalizer"))
        {
            case "Sequence":
                RefuseOthers(normalizer, "normalizer Sequence", "type", "normalizers");
                var steps = Items(normalizer, "normalizers").Select(step => Normalizer(step)).ToArray();
                return text => steps.Aggregate(text, static (current, step) => step(current));
            case "Prepend":
                RefuseOthers(normalizer, "normalizer Prepend", "type", "prepend");
                var prefix = Text(normalizer, "prepend", "normalizer Prepend");
                return text => text.Length == 0 ? text : prefix + text;
            case "Replace":
                var (old, content) = Replacement(normalizer, "normalizer Replace");
                return text => text.Replace(old, content, StringComparison.Ordinal);
            case var other:
                throw NotImplemented("normalizer", other);
        }
    }

    private Func<string, IEnumerable<string>> PreTokenizer(JsonElement? section)
    {
        if (section is not { } preTokenizer) return static text => [text];
        switch (TypeOf(preTokenizer, "pre_tokenizer"))
        {
            case "ByteLevel":
                RefuseOthers(preTokenizer, "pre_tokenizer ByteLevel", "type", "add_prefix_space", "trim_offsets", "use_regex");
                var (prefix, regex) = (Flag(preTokenizer, "add_prefix_space", absent: true), Flag(preTokenizer, "use_regex", absent: true));
                return text => ByteLevel.Words(text, prefix, regex);
            case var other:
                throw NotImplemented("pre_tokenizer", other);
        }
    }

    private BytePairEncoding Model(JsonElement model)
    {
        // Old files do not name the type; merges say it.
        var type = model.ValueKind == JsonValueKind.Object && !model.TryGetProperty("type", out _) && model.TryGetProperty("merges", out _) ? "BPE" : TypeOf(model, "model");
        if (type != "BPE") throw NotImplemented("model", type);
        RefuseOthers(model, "model", "type", "vocab", "merges", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges");
        var vocabulary = Vocabulary(model);
        int? unknown = null;
        if (OptionalText(model, "unk_token", "model") is { } token)
            unknown = vocabulary.TryGetValue(token, out var id) ? id : throw Bad($"model.unk_token \"{token}\" is not in the vocabulary");
        return new BytePairEncoding(vocabulary, Merges(model, vocabulary), new BytePairSettings(unknown, Flag(model, "fuse_unk"), Flag(model, "byte_fallback"), Flag(model, "ignore_merges")));
    }

    private Dictionary<string, int> Vocabulary(JsonElement model)
    {
        if (!model.TryGetProperty("vocab", out var section) || section.ValueKind != JsonValueKind.Object) throw Bad("model.vocab is missing or not an object");
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in section.EnumerateObject())
        {
            if (!vocabulary.TryAdd(entry.Name, TokenId(entry.Value, "model.vocab"))) throw Bad($"model.vocab has \"{entry.Name}\" twice");
        }

        return vocabulary;
    }

    private Dictionary<(int, int), (int, int)> Merges(JsonElement model, Dictionary<string, int> vocabulary)
    {
        var merges = new Dictionary<(int, int), (int, int)>();
        var rank = 0;
        foreach (var entry in Items(model, "merges"))
        {
            var (left, right) = Pair(entry, rank);
            if (!vocabulary.TryGetValue(left, out var first) || !vocabulary.TryGetValue(right, out var second) || !vocabulary.TryGetValue(left + right, out var joined))
                throw Bad($"model.merges[{rank}] joins \"{left}\" and \"{right}\", expected both and the result in the vocabulary");
            merges[(first, second)] = (rank++, joined);
        }

        return merges;
    }

    private (string Left, string Right) Pair(JsonElement entry, int rank)
    {
        if (entry.ValueKind == JsonValueKind.Array && entry.GetArrayLength() == 2 && entry[0].ValueKind == JsonValueKind.String && entry[1].ValueKind == JsonValueKind.String)
            return (entry[0].GetString()!, entry[1].GetString()!);
        return entry.ValueKind == JsonValueKind.String && entry.GetString()!.Split(' ') is [var left, var right]
            ? (left, right)
            : throw Bad($"model.merges[{rank}] is {Shorten(entry)}, expected \"left right\" or [left, right]");
    }

    private Func<List<int>, int[]> PostProcessor(JsonElement? section)
    {
        if (section is not { } processor) return static ids => [.. ids];
        switch (TypeOf(processor, "post_processor"))
        {
            case "ByteLevel": // concerns offsets only
                RefuseOthers(processor, "post_processor ByteLevel", "type", "add_prefix_space", "trim_offsets", "use_regex");
                return static ids => [.. ids];
            case "TemplateProcessing":
                return Template(processor);
            case "Sequence":
                RefuseOthers(processor, "post_processor Sequence", "type", "processors");
                var steps = Items(processor, "processors").Select(step => PostProcessor(step)).ToArray();
                return ids => [.. steps.Aggregate(ids, static (current, step) => [.. step(current)])];
            case var other:
                throw NotImplemented("post_processor", other);
        }
    }

    private Func<List<int>, int[]> Template(JsonElement processor)
    {
        const string Name = "post_processor TemplateProcessing";
        RefuseOthers(processor, Name, "type", "single", "pair", "special_tokens"); // pair: no pairs of texts here
        var special = processor.TryGetProperty("special_tokens", out var map) && map.ValueKind == JsonValueKind.Object ? map : throw Bad($"{Name} has no special_tokens");
        var (before, after) = (new List<int>(), new List<int>());
        var seen = false;
        foreach (var item in Items(processor, "single"))
        {
            if (item.ValueKind == JsonValueKind.Object && item.TryGetProperty("Sequence", out var sequence) && Text(sequence, "id", Name) == "A" && !seen)
            {
                seen = true;
            }
            else if (item.ValueKind == JsonValueKind.Object && item.TryGetProperty("SpecialToken", out var token)
                && special.TryGetProperty(Text(token, "id", Name), out var entry) && entry.ValueKind == JsonValueKind.Object)
            {
                (seen ? after : before).AddRange(Items(entry, "ids").Select(id => TokenId(id, Name)));
            }
            else
            {
                throw Bad($"{Name}: {Shorten(item)} in single, expected sequence A once and special tokens that special_tokens has");
            }
        }

        return seen ? ids => [.. before, .. ids, .. after] : throw Bad($"{Name}: single has no sequence A");
    }

    private Func<IReadOnlyList<string>, IReadOnlyList<string>> Decoder(JsonElement? section)
    {
        if (section is not { } decoder) return static tokens => [string.Join(' ', tokens)];
        switch (TypeOf(decoder, "decoder"))
        {
            case "ByteLevel":
                RefuseOthers(decoder, "decoder ByteLevel", "type", "add_prefix_space", "trim_offsets", "use_regex");
                return ByteLevel.Decode;
            case "ByteFallback":
                RefuseOthers(decoder, "decoder ByteFallback", "type");
                return Decoders.ByteFallback;
            case "Fuse":
                RefuseOthers(decoder, "decoder Fuse", "type");
                return static tokens => [string.Concat(tokens)];
            case "Replace":
                var (old, content) = Replacement(decoder, "decoder Replace");
                return tokens => [.. tokens.Select(token => token.Replace(old, content, StringComparison.Ordinal))];
            case "Strip":
                RefuseOthers(decoder, "decoder Strip", "type", "content", "start", "stop");
                var strip = Text(decoder, "content", "decoder Strip") is [var single] ? single : throw Bad("decoder Strip: content must be one character");
                var (start, stop) = (Count(decoder, "start"), Count(decoder, "stop"));
                return tokens => Decoders.Strip(tokens, strip, start, stop);
            case "Sequence":
                RefuseOthers(decoder, "decoder Sequence", "type", "decoders");
                var steps = Items(decoder, "decoders").Select(step => Decoder(step)).ToArray();
                return tokens => steps.Aggregate(tokens, static (current, step) => step(current));
            case var other:
                throw NotImplemented("decoder", other);
        }
    }

    private (string Old, string New) Replacement(JsonElement element, string name)
    {
        RefuseOthers(element, name, "type", "pattern", "content");
        var pattern = element.TryGetProperty("pattern", out var value) ? value : default;
        if (pattern.ValueKind != JsonValueKind.Object || OptionalText(pattern, "String", name) is not { Length: > 0 } old)
            throw Bad($"{name}: pattern {Shorten(pattern)} is not implemented, expected {{\"String\": text}}");
        return (old, Text(element, "content", name));
    }

    private static JsonElement? Section(JsonElement root, string key) =>
        root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private string TypeOf(JsonElement element, string name) => Text(element, "type", name);

    private JsonElement.ArrayEnumerator Items(JsonElement element, string key) =>
        element.TryGetProperty(key, out var list) && list.ValueKind == JsonValueKind.Array ? list.EnumerateArray() : throw Bad($"{key} is missing or not an array");

    private string Text(JsonElement element, string key, string name) => OptionalText(element, key, name) ?? throw Bad($"{name} has no {key}");

    private string? OptionalText(JsonElement element, string key, string name)
    {
        if (element.ValueKind != JsonValueKind.Object) throw Bad($"{name} is {element.ValueKind}, expected an object");
        if (!element.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null) return null;
        return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Bad($"{name}: {key} is {value.ValueKind}, expected a string");
    }

    private bool Flag(JsonElement element, string key, bool absent = false) =>
        !element.TryGetProperty(key, out var value) ? absent : value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Null => absent,
            _ => throw Bad($"{key} is {Shorten(value)}, expected true or false"),
        };

    private int Count(JsonElement element, string key) =>
        element.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var count) && count >= 0
            ? count
            : throw Bad($"{key} is {Shorten(value)}, expected a non-negative integer");

    private int TokenId(JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id is >= 0 and < int.MaxValue
            ? id
            : throw Bad($"{name} is {Shorten(value)}, expected a token id");

    // A setting that is off (null, false, 0, empty) changes nothing and may be there; dropout and affixes are such.
    private void RefuseOthers(JsonElement element, string name, params ReadOnlySpan<string> known)
    {
        if (element.ValueKind != JsonValueKind.Object) throw Bad($"{name} is {element.ValueKind}, expected an object");
        foreach (var entry in element.EnumerateObject())
        {
            var off = entry.Value.ValueKind is JsonValueKind.Null or JsonValueKind.False
                || entry.Value is { ValueKind: JsonValueKind.String } text && text.GetString()!.Length == 0
                || entry.Value is { ValueKind: JsonValueKind.Number } number && number.TryGetDouble(out var value) && value == 0;
            if (!off && !known.Contains(entry.Name)) throw Bad($"{name}: {entry.Name} {Shorten(entry.Value)} is not implemented");
        }
    }

    private static string Shorten(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Undefined) return "missing";
        var text = value.GetRawText().ReplaceLineEndings(" ");
        return text.Length > 80 ? text[..80] + "..." : text;
    }

    private BadInputException NotImplemented(string section, string type) => Bad($"{section} type \"{type}\" is not implemented");

    private BadInputException Bad(string what) => new($"{_path}: {what}");
}

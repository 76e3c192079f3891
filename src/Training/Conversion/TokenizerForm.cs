using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Conversion;

/// <summary>What of a <c>tokenizer.json</c> decides over ids, in one form whichever of its several spellings the file has.</summary>
internal sealed record TokenizerForm
{
    private const string Space = "\u2581";

    /// <summary>Every token by its spelling, the added ones too.</summary>
    public required IReadOnlyDictionary<string, int> Vocabulary { get; init; }

    /// <summary>Tokens that are found in the text itself: those that are special, and those that are not.</summary>
    public required IReadOnlyDictionary<int, bool> Added { get; init; }

    /// <summary>Pairs in the order of their ranks.</summary>
    public required IReadOnlyList<(string Left, string Right)> Merges { get; init; }

    /// <summary>Words are in GPT-2's byte alphabet; else the text is SentencePiece's.</summary>
    public required bool IsByteLevel { get; init; }

    /// <summary>A space is put before a text of SentencePiece.</summary>
    public bool AddsSpace { get; init; }

    /// <summary>Steps before words are cut, and how they are; of a byte level tokenizer.</summary>
    public required string Normalizer { get; init; }

    /// <inheritdoc cref="Normalizer"/>
    public required string PreTokenizer { get; init; }

    /// <summary>A word that is a token is that token.</summary>
    public required bool IgnoresMerges { get; init; }

    /// <summary>What has no token is spelled in bytes.</summary>
    public required bool ByteFallback { get; init; }

    /// <summary>Stands for what the vocabulary cannot spell.</summary>
    public required string? Unknown { get; init; }

    /// <summary>Tokens that are put before and behind a text.</summary>
    public required (string? Begin, string? End) Around { get; init; }

    /// <summary>Takes it from a document.</summary>
    /// <param name="json">The text of <c>tokenizer.json</c>.</param>
    /// <param name="called">What messages call it.</param>
    /// <exception cref="BadInputException">It has a part that a GGUF file has no word for; the part is named.</exception>
    public static TokenizerForm Read(string json, string called)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return Read(document.RootElement, called);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new BadInputException($"{called}: not a tokenizer.json: {BadInputException.Shown(exception.Message)}", exception);
        }
    }

    private static TokenizerForm Read(JsonElement root, string called)
    {
        var model = root.GetProperty("model");
        var type = Text(model, "type") ?? (model.GetProperty("vocab").ValueKind == JsonValueKind.Array ? "Unigram" : "BPE");
        if (type != "BPE") throw Unsayable(called, "model.type", type);
        foreach (var key in (string[])["dropout", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (Part(model, key) is { } value && !(value.ValueKind == JsonValueKind.String && value.GetString()!.Length == 0))
                throw Unsayable(called, $"model.{key}", value.GetRawText());
        }

        var (normalizer, preTokenizer) = (Steps(Part(root, "normalizer")), Steps(Part(root, "pre_tokenizer")));
        var isByteLevel = preTokenizer.Any(static step => Text(step, "type") == "ByteLevel");
        var vocabulary = model.GetProperty("vocab").EnumerateObject()
            .ToDictionary(static entry => entry.Name, static entry => entry.Value.GetInt32(), StringComparer.Ordinal);
        return new()
        {
            Added = AddedIn(root, vocabulary, isByteLevel ? normalizer.Count > 0 : null, called),
            Vocabulary = vocabulary,
            Merges = [.. model.GetProperty("merges").EnumerateArray().Select(merge => Pair(merge, called))],
            IsByteLevel = isByteLevel,
            AddsSpace = !isByteLevel && SpaceBefore(normalizer, preTokenizer, called),
            Normalizer = string.Join(' ', normalizer.Select(Plain)),
            PreTokenizer = string.Join(' ', preTokenizer.Select(Plain)),
            IgnoresMerges = Flag(model, "ignore_merges"),
            ByteFallback = Flag(model, "byte_fallback"),
            Unknown = Text(model, "unk_token"),
            Around = AroundIn(Part(root, "post_processor"), called),
        };
    }

    // Sequences in sequences are one.
    private static List<JsonElement> Steps(JsonElement? part)
    {
        if (part is not { } step) return [];
        if (Text(step, "type") != "Sequence") return [step];
        var steps = Part(step, "normalizers") ?? Part(step, "pretokenizers") ?? Part(step, "processors") ?? step.GetProperty("steps");
        return [.. steps.EnumerateArray().SelectMany(static inner => Steps(inner))];
    }

    // Without what moves no border between words.
    private static string Plain(JsonElement step) => Text(step, "type") == "ByteLevel"
        ? $"ByteLevel(add_prefix_space {Flag(step, "add_prefix_space", absent: true)}, use_regex {Flag(step, "use_regex", absent: true)})"
        : JsonSerializer.Serialize(
            step.EnumerateObject().OrderBy(static entry => entry.Name, StringComparer.Ordinal).ToDictionary(e => e.Name, e => e.Value));

    private static bool SpaceBefore(List<JsonElement> normalizer, List<JsonElement> preTokenizer, string called)
    {
        string Kind(JsonElement step) => Text(step, "type") switch
        {
            "Prepend" when Text(step, "prepend") == Space => "prepend",
            "Replace" when Text(step, "content") == Space && Text(step.GetProperty("pattern"), "String") == " " => "replace",
            "Metaspace" when (Text(step, "replacement") ?? Space) == Space && !Flag(step, "split", absent: true) =>
                "metaspace " + (Text(step, "prepend_scheme") ?? "always"),
            var other => throw Unsayable(called, "normalizer or pre_tokenizer", other ?? "without a type"),
        };

        var kinds = string.Join(", ", normalizer.Concat(preTokenizer).Select(Kind));
        return kinds switch
        {
            "prepend, replace" or "metaspace always" => true,
            "replace" or "metaspace never" => false,
            _ => throw Unsayable(called, "normalizer and pre_tokenizer", kinds.Length == 0 ? "null" : kinds),
        };
    }

    // normalizes: whether a byte level tokenizer normalizes at all; null for SentencePiece.
    private static Dictionary<int, bool> AddedIn(JsonElement root, Dictionary<string, int> vocabulary, bool? normalizes, string called)
    {
        var added = new Dictionary<int, bool>();
        foreach (var token in Part(root, "added_tokens")?.EnumerateArray() ?? default)
        {
            var (id, content) = (token.GetProperty("id").GetInt32(), token.GetProperty("content").GetString()!);
            foreach (var flag in (string[])["single_word", "lstrip", "rstrip"])
            {
                if (Flag(token, flag)) throw Unsayable(called, $"{flag} of the added token \"{content}\"", "true");
            }

            if (Flag(token, "normalized") && (normalizes is null || normalizes == true && !System.Text.Ascii.IsValid(content)))
                throw Unsayable(called, $"normalized of the added token \"{content}\"", "true");
            if (vocabulary.TryGetValue(content, out var known) && known != id)
                throw new BadInputException($"{called}: \"{BadInputException.Shown(content)}\" is token {known} and added as {id}");
            vocabulary[content] = id;
            added[id] = Flag(token, "special");
        }

        return added;
    }

    private static (string? Begin, string? End) AroundIn(JsonElement? processor, string called)
    {
        var templates = Steps(processor).Where(static step => Text(step, "type") != "ByteLevel").ToList(); // which moves offsets alone
        if (templates.Count == 0) return default;
        if (templates.Count > 1 || Text(templates[0], "type") != "TemplateProcessing")
            throw Unsayable(called, "post_processor", Text(templates[0], "type") ?? "without a type");
        var items = templates[0].GetProperty("single").EnumerateArray()
            .Select(static item => Part(item, "SpecialToken") is { } token ? Text(token, "id") : null).ToList();
        var text = items.IndexOf(null);
        return items.Count switch
        {
            1 when text == 0 => default,
            2 when text == 0 => (null, items[1]),
            2 when text == 1 => (items[0], null),
            3 when text == 1 && items[2] is not null => (items[0], items[2]),
            _ => throw Unsayable(called, "post_processor", templates[0].GetProperty("single").GetRawText()),
        };
    }

    private static (string Left, string Right) Pair(JsonElement merge, string called)
    {
        if (merge.ValueKind == JsonValueKind.Array && merge.GetArrayLength() == 2) return (merge[0].GetString()!, merge[1].GetString()!);
        var text = merge.GetString()!;
        var space = text.IndexOf(' ', StringComparison.Ordinal);
        return space > 0
            ? (text[..space], text[(space + 1)..])
            : throw new BadInputException($"{called}: the merge \"{BadInputException.Shown(text)}\" is no pair");
    }

    private static BadInputException Unsayable(string called, string part, string value) => new($"{called}: {part} is "
        + $"{BadInputException.Shown(value)}, for which a GGUF file has no word; without tokenizer.json the file gets no tokenizer");

    private static JsonElement? Part(JsonElement of, string key) =>
        of.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string? Text(JsonElement of, string key) => Part(of, key)?.GetString();

    private static bool Flag(JsonElement of, string key, bool absent = false) => Part(of, key)?.GetBoolean() ?? absent;
}

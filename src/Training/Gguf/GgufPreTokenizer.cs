using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// How the text of a <c>gpt2</c> vocabulary is cut into words before its merges, as the <c>tokenizer.json</c> of the model has it that a
/// name of <c>tokenizer.ggml.pre</c> stands for.
/// </summary>
/// <remarks>
/// The names and which of them begin a text or ignore merges are those of <c>src/llama-vocab.cpp</c> of github.com/ggml-org/llama.cpp. It
/// has more names; one is here only where the model's own file is known to cut in this way.
/// </remarks>
internal sealed record GgufPreTokenizer
{
    public const string Key = "tokenizer.ggml.pre";

    private const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private const string Gpt2Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
    private const string Rest = @"|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static readonly GgufPreTokenizer Gpt2 = new() { Words = true };
    private static readonly GgufPreTokenizer StarCoder = new() { SingleDigits = true, Words = true };
    private static readonly GgufPreTokenizer Llama3 = new()
    {
        Splits = [Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + Rest],
        IgnoresMerges = true,
        Begins = true,
    };

    private static readonly Dictionary<string, GgufPreTokenizer> Known = new(StringComparer.Ordinal)
    {
        ["gpt-2"] = Gpt2,
        ["phi-2"] = Gpt2,
        ["smollm"] = StarCoder,
        ["starcoder"] = StarCoder,
        ["refact"] = StarCoder,
        ["llama-bpe"] = Llama3,
        ["llama3"] = Llama3,
        ["llama-v3"] = Llama3,
        ["qwen2"] = new()
        {
            Splits = [Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + Rest],
            Composes = true,
        },
        ["tekken"] = new()
        {
            Splits =
            [
                @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                + @"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + Rest,
            ],
            IgnoresMerges = true,
            Begins = true,
        },
    };

    /// <summary>What llama.cpp takes where a file names nothing. Most models' own is another, so no file gets it by its metadata.</summary>
    private static readonly GgufPreTokenizer Default = new()
    {
        Splits = [@"[\p{P}\$\+<=>\^~\|]+", Gpt2Words, @"\p{N}+", "[0-9][0-9][0-9]"],
    };

    /// <summary>Expressions, each of which cuts what the one before left.</summary>
    public IReadOnlyList<string> Splits { get; private init; } = [];

    /// <summary>Every digit stands alone, whatever it is a digit of.</summary>
    public bool SingleDigits { get; private init; }

    /// <summary>GPT-2's expression comes last.</summary>
    public bool Words { get; private init; }

    /// <summary>A word that is a token is that token, whatever the merges say.</summary>
    public bool IgnoresMerges { get; private init; }

    /// <summary>Text is brought into Unicode's form NFC first.</summary>
    public bool Composes { get; private init; }

    /// <summary>The begin token is put before a text where the file does not say whether.</summary>
    public bool Begins { get; private init; }

    /// <summary>What a file names.</summary>
    /// <param name="metadata">Its metadata.</param>
    /// <param name="name">A name that the caller knows instead, "default" too.</param>
    /// <exception cref="BadInputException">No name, or one that is not known.</exception>
    public static GgufPreTokenizer Of(GgufMetadata metadata, string? name = null)
    {
        if (name == "default") return Default;
        name ??= metadata.OptionalText(Key) ?? throw new BadInputException(
            $"{metadata.Path}: {Key} is missing, so how its text is cut into words is not known; write the file again with a newer "
            + $"converter, which names one of {Names}");
        return Known.TryGetValue(name, out var known)
            ? known
            : throw metadata.Wrong(Key, $"\"{name}\"", $"one of {Names}; another tokenizer would give other ids");
    }

    /// <summary>The names, of those that say the same the commonest first.</summary>
    public static IEnumerable<string> KnownNames => Known.Keys;

    /// <summary>What a name stands for, as a <c>tokenizer.json</c> without a vocabulary.</summary>
    public static string Described(string name)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            var known = Known[name];
            json.WriteStartObject();
            if (known.Composes) WriteRaw("normalizer", """{"type":"NFC"}""");
            json.WritePropertyName("pre_tokenizer");
            known.Write(json);
            WriteRaw("model", $$"""{"vocab":{},"merges":[],"ignore_merges":{{(known.IgnoresMerges ? "true" : "false")}}}""");
            json.WriteEndObject();

            void WriteRaw(string key, string value)
            {
                json.WritePropertyName(key);
                json.WriteRawValue(value);
            }
        }

        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    /// <summary>Writes the value of <c>pre_tokenizer</c>.</summary>
    public void Write(Utf8JsonWriter json)
    {
        var several = SingleDigits || Splits.Count > 0;
        json.WriteStartObject();
        if (several)
        {
            json.WriteString("type", "Sequence");
            json.WriteStartArray("pretokenizers");
            foreach (var split in Splits)
                json.WriteRawValue($$$"""{"type":"Split","pattern":{"Regex":{{{Quoted(split)}}}},"behavior":"Isolated","invert":false}""");
            if (SingleDigits) json.WriteRawValue("""{"type":"Digits","individual_digits":true}""");
            json.WriteStartObject();
        }

        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", Words);
        json.WriteEndObject();
        if (!several) return;
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string Names => string.Join(", ", Known.Keys.Order(StringComparer.Ordinal));

    private static string Quoted(string text) => JsonSerializer.Serialize(text);
}

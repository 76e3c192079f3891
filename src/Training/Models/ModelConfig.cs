using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Models;

/// <summary>What a model family needs from <c>config.json</c>.</summary>
public sealed record ModelConfig
{
    internal const string FileName = "config.json";

    private const int MaxLayers = 2_000;
    internal const double LeastTheta = 1e-6; // beyond these float32 holds no frequency
    internal const double MostTheta = 1e30;
    private const int MaxWidth = 1 << 24; // far above any model's, and a matrix of two such widths is far below what overflows

    /// <summary>The family, as in <see cref="ModelRegistry"/>.</summary>
    public required string ModelType { get; init; }

    /// <summary>Model width D.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Number of layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Attention heads of the queries.</summary>
    public required int AttentionHeads { get; init; }

    /// <summary>Attention heads of keys and values; divides <see cref="AttentionHeads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of one attention head; not always D / heads.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Vocabulary V.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Longest sequence.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Added to the mean square in normalization.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Base of the rotary angles.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>Scaling of the rotary angles; null for none.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>Share of an attention head's width that turns with the position.</summary>
    public double RotaryFraction { get; init; } = 1;

    /// <summary>How many positions a token sees, its own included; null for all.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>The attention's linear layers have biases, beyond those that the family always has.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>The MLP's linear layers have biases, where the family leaves it open.</summary>
    public bool MlpBias { get; init; }

    /// <summary>Attention and MLP read the same input, where the family leaves it open.</summary>
    public bool ParallelResidual { get; init; }

    /// <summary>The LM head is the embedding.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Token that begins a text.</summary>
    public int? BeginId { get; init; }

    /// <summary>Tokens that end a generation.</summary>
    public IReadOnlyList<int> EndIds { get; init; } = [];

    /// <summary>Padding token.</summary>
    public int? PadId { get; init; }

    /// <summary>Dimensions of an attention head that turn.</summary>
    internal int RotaryDim => (int)(HeadDim * RotaryFraction);

    /// <summary>The configuration of a model folder or a GGUF file.</summary>
    /// <exception cref="BadInputException">
    /// Missing, not valid, or it asks for something the code does not implement; the key is named.
    /// </exception>
    public static ModelConfig Load(string model) => Load(ModelSource.At(model));

    /// <summary>The same of a model that is open.</summary>
    /// <inheritdoc cref="Load(string)" path="/exception"/>
    internal static ModelConfig Load(ModelSource model) => Parse(model.Text(FileName), model.Called(FileName));

    /// <summary>Reads the text of a <c>config.json</c>.</summary>
    /// <param name="json">The text.</param>
    /// <param name="name">What messages call it.</param>
    /// <inheritdoc cref="Load(string)" path="/exception"/>
    public static ModelConfig Parse(string json, string name) => ConfigReader.Read(json, name, reader =>
    {
        var config = ModelRegistry.FamilyOf(reader.Text("model_type"), name).ReadConfig(reader);
        reader.RefuseUnread();
        config.Validate(name);
        return config;
    });

    /// <summary>The text of a <c>config.json</c> that reads back as this record.</summary>
    public string ToJson()
    {
        var json = new JsonObject
        {
            ["model_type"] = ModelType,
            ["vocab_size"] = VocabularySize,
            ["tie_word_embeddings"] = TieWordEmbeddings,
            ["bos_token_id"] = BeginId,
            ["eos_token_id"] = EndIds.Count == 1 ? EndIds[0]
                : EndIds.Count == 0 ? null
                : new JsonArray([.. EndIds.Select(static id => JsonValue.Create(id))]),
            ["pad_token_id"] = PadId,
        };
        ModelRegistry.FamilyOf(ModelType, nameof(ModelConfig)).WriteConfig(this, json);
        return json.ToJsonString(new() { WriteIndented = true });
    }

    /// <summary>Checks sizes against each other.</summary>
    /// <exception cref="BadInputException">A size is out of range; it is named with its value and bound.</exception>
    internal void Validate(string name)
    {
        void Positive(string key, int value)
        {
            if (value <= 0) throw new BadInputException($"{name}: {key} is {value}, expected at least 1");
        }

        void Narrow(string key, long value)
        {
            if (value > MaxWidth) throw new BadInputException($"{name}: {key} is {value}, expected at most {MaxWidth}");
        }

        Positive("hidden_size", HiddenSize);
        Positive("intermediate_size", IntermediateSize);
        Positive("num_hidden_layers", Layers);
        Positive("num_attention_heads", AttentionHeads);
        Positive("num_key_value_heads", KeyValueHeads);
        Positive("head_dim", HeadDim);
        Positive("vocab_size", VocabularySize);
        Positive("max_position_embeddings", MaxPositions);
        Narrow("hidden_size", HiddenSize);
        Narrow("intermediate_size", IntermediateSize);
        Narrow("vocab_size", VocabularySize);
        Narrow("num_attention_heads times head_dim", (long)AttentionHeads * HeadDim);
        if (Layers > MaxLayers) throw new BadInputException($"{name}: num_hidden_layers is {Layers}, expected at most {MaxLayers}");
        if (AttentionHeads % KeyValueHeads != 0)
            throw new BadInputException(
                $"{name}: num_key_value_heads is {KeyValueHeads}, expected a divisor of num_attention_heads {AttentionHeads}");
        if (HeadDim % 2 != 0) throw new BadInputException($"{name}: head_dim is {HeadDim}, expected an even number");
        if (!(RotaryFraction is > 0 and <= 1) || RotaryDim == 0 || RotaryDim % 2 != 0)
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture,
                $"{name}: {RotaryFraction} of a head of {HeadDim} dimensions is rotary, expected an even number of them"));
        if (SlidingWindow <= 0) throw new BadInputException($"{name}: sliding_window is {SlidingWindow}, expected at least 1");
        RopeScaling?.Validate(name, RotaryDim);
        if (!(NormEpsilon >= 0 && double.IsFinite(NormEpsilon)))
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture,
                $"{name}: the norm's epsilon is {NormEpsilon}, expected a finite number of at least 0"));
        if (!(RopeTheta is >= LeastTheta and <= MostTheta))
        {
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture,
                $"{name}: rope_theta is {RopeTheta}, expected a number from {LeastTheta} to {MostTheta}"));
        }
    }
}

/// <summary>
/// Reads the keys of a <c>config.json</c> and remembers which: a key that nobody read and that switches something on is refused
/// by name, so that no setting is ever ignored.
/// </summary>
internal sealed class ConfigReader
{
    // No influence on what the network computes.
    private static readonly string[] Harmless =
    [
        "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "initializer_range", "model_type",
        "pretraining_tp", "output_attentions", "output_hidden_states", "return_dict", "auto_map", "id2label", "label2id",
        "task_specific_params", "problem_type", "tokenizer_class", "prefix", "sep_token_id", "chunk_size_feed_forward",
        "transformers.js_config", "finetuning_task", "torchscript", "use_bfloat16", "license", "model_name", "model_max_length",
        "tokenizer_model_max_length", "tokenizer_padding_side", "bos_token", "eos_token", "pad_token", "unk_token",

        // How a program trains, or by which kernels it computes the same.
        "gradient_checkpointing", "gradient_checkpointing_kwargs", "use_gradient_checkpointing", "unsloth_fixed", "unsloth_version",
        "unsloth_training", "attn_implementation", "use_flash_attn", "use_flash_attention", "use_flash_attention_2", "flash_attn",
        "flash_rotary", "fused_dense", "use_mem_eff_path",

        // Defaults of generation, which here are options of the command.
        "max_length", "max_new_tokens", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
        "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate",
        "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
        "begin_suppress_tokens", "decoder_start_token_id",

        // A frozen base does not drop out, in training neither.
        "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "classifier_dropout",
    ];

    private readonly Dictionary<string, JsonElement> _values = new(StringComparer.Ordinal);
    private readonly HashSet<string> _read = [.. Harmless];
    private readonly string _name;

    public ConfigReader(JsonElement root, string name)
    {
        _name = name;
        if (root.ValueKind != JsonValueKind.Object) throw new BadInputException($"{name}: {root.ValueKind}, expected an object");
        foreach (var entry in root.EnumerateObject())
        {
            if (!_values.TryAdd(entry.Name, entry.Value))
                throw new BadInputException($"{name}: {BadInputException.Shown(entry.Name)} occurs twice");
        }
    }

    /// <summary>The text of a file.</summary>
    /// <exception cref="BadInputException">The file cannot be read.</exception>
    public static string TextOf(string path)
    {
        try
        {
            return Utf8Text.Read(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {BadInputException.Shown(exception.Message)}", exception);
        }
    }

    /// <summary>Takes what is wanted from a JSON object.</summary>
    /// <exception cref="BadInputException">Not a JSON object, or what <paramref name="take"/> refuses.</exception>
    public static T Read<T>(string json, string name, Func<ConfigReader, T> take)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return take(new ConfigReader(document.RootElement, name));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not valid Unicode.
            throw new BadInputException($"{name}: not valid JSON: {BadInputException.Shown(exception.Message)}", exception);
        }
    }

    public string Text(string key) =>
        Find(key) is { ValueKind: JsonValueKind.String } value ? value.GetString()! : throw Bad(key, "a string");

    /// <summary>One of some texts.</summary>
    public string OneOf(string key, params string[] expected) => Text(key) is var text && expected.Contains(text)
        ? text
        : throw Bad(key, $"{string.Join(" or ", expected.Select(static name => $"\"{name}\""))}; no other is implemented for this family");

    /// <summary>Whether the key is there and not null.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>An object inside; null where absent.</summary>
    public ConfigReader? Section(string key) => Find(key) is { } value
        ? value.ValueKind == JsonValueKind.Object ? new(value, $"{_name}: {key}") : throw Bad(key, "an object")
        : null;

    /// <summary>An integer of at least 1.</summary>
    public int Size(string key) => OptionalSize(key) ?? throw Bad(key, "an integer");

    /// <summary>An integer of at least 1; null where absent.</summary>
    public int? OptionalSize(string key) => OptionalInteger(key) is not <= 0 and var size ? size : throw Bad(key, "at least 1");

    /// <summary>A size that is a multiple of another: the width of one of its parts.</summary>
    public int Share(string key, string ofKey) =>
        Size(ofKey) % Size(key) == 0 ? Size(ofKey) / Size(key) : throw Bad(key, $"a divisor of {ofKey} {Size(ofKey)}");

    /// <summary>A size times a factor.</summary>
    public int Multiple(string key, int factor) =>
        Size(key) <= int.MaxValue / factor ? Size(key) * factor : throw Bad(key, $"at most {int.MaxValue / factor}");

    public int Integer(string key) => OptionalInteger(key) ?? throw Bad(key, "an integer");

    public int? OptionalInteger(string key) => Find(key) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Number } value when value.TryGetInt32(out var number) => number,
        _ => throw Bad(key, "an integer"),
    };

    /// <summary>A number, or a list of them; empty where absent.</summary>
    public IReadOnlyList<int> Integers(string key) => Find(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(item =>
            item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out var number)
                ? number
                : throw Bad(key, "an integer or a list of integers"))],
        _ => [Integer(key)],
    };

    public double Number(string key, double? absent = null) => Find(key) switch
    {
        null => absent ?? throw Bad(key, "a number"),
        { ValueKind: JsonValueKind.Number } value when value.TryGetDouble(out var number) => number,
        _ => throw Bad(key, "a number"),
    };

    /// <summary>A list of numbers.</summary>
    public IReadOnlyList<double> Numbers(string key) => Find(key) is { ValueKind: JsonValueKind.Array } list
        && list.EnumerateArray().All(static item => item.ValueKind == JsonValueKind.Number)
            ? [.. list.EnumerateArray().Select(static item => item.GetDouble())]
            : throw Bad(key, "a list of numbers");

    public bool Flag(string key, bool absent) => Find(key) switch
    {
        null => absent,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        _ => throw Bad(key, "true or false"),
    };

    /// <summary>A setting that has one value in every layer, as a list; may be absent.</summary>
    public void Every(string key, string expected)
    {
        if (Find(key) is { } list && !(list.ValueKind == JsonValueKind.Array
            && list.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String && item.GetString() == expected)))
            throw Bad(key, $"a list of \"{expected}\" alone; no other is implemented for this family");
    }

    /// <summary>Keys without influence on what a family computes.</summary>
    public void Ignore(params string[] keys) => _read.UnionWith(keys);

    /// <summary>A setting that must be absent or true.</summary>
    public void On(string key)
    {
        if (!Flag(key, absent: true)) throw Bad(key, "true: false is not implemented for this family");
    }

    /// <summary>A setting that must be absent, null, false or 0.</summary>
    public void Off(string key)
    {
        if (Find(key) is { } value && !IsOff(value)) throw Bad(key, "null, false or 0: it is not implemented for this family");
    }

    /// <summary>Two keys that mean the same and say something else.</summary>
    public BadInputException Contradiction(string key, string value, string other, string otherValue) =>
        new($"{_name}: {key} is {BadInputException.Shown(value)} and {other} is {BadInputException.Shown(otherValue)}; "
            + "they mean the same, leave one of them");

    public void RefuseUnread()
    {
        foreach (var (key, value) in _values)
        {
            if (!_read.Contains(key) && !key.StartsWith('_') && !IsOff(value))
                throw new BadInputException(
                    $"{_name}: {BadInputException.Shown(key)} is {Shorten(value)}, a setting that is not implemented for this family");
        }
    }

    private static bool IsOff(JsonElement value) =>
        value.ValueKind is JsonValueKind.Null or JsonValueKind.False
        || value is { ValueKind: JsonValueKind.Number } && value.TryGetDouble(out var number) && number == 0;

    private static string Shorten(JsonElement value) => BadInputException.Shown(value.GetRawText());

    private JsonElement? Find(string key)
    {
        _read.Add(key);
        return _values.TryGetValue(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    /// <summary>A value that cannot be used.</summary>
    public BadInputException Bad(string key, string expected) =>
        new($"{_name}: {key} is {(_values.TryGetValue(key, out var value) ? Shorten(value) : "missing")}, expected {expected}");
}

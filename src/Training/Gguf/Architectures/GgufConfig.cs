using FedRLora.Abstractions;
using FedRLora.Training.Models;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>
/// A model's configuration from the metadata of a GGUF file. Keys of the architecture that nobody read and that switch something on are
/// refused by name, as <see cref="ConfigReader.RefuseUnread"/> does.
/// </summary>
internal sealed class GgufConfig
{
    public const string RopeFactorsTensor = "rope_freqs.weight";
    private const string TokensKey = "tokenizer.ggml.tokens";
    private const int MostLayers = 2_000;

    // What has no influence on what the network computes.
    private static readonly string[] Harmless =
        ["tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length", "attention.causal"];

    private readonly GgufArchitecture _architecture;
    private readonly GgufMetadata _metadata;
    private readonly IReadOnlyDictionary<string, GgufTensor> _tensors;
    private readonly HashSet<string> _read;

    private GgufConfig(GgufHeader header)
    {
        (_architecture, _metadata, _tensors) = (GgufArchitecture.Of(header.Metadata), header.Metadata, header.Tensors);
        _read = [.. Harmless.Select(name => $"{_architecture.Name}.{name}")];
    }

    /// <summary>The configuration.</summary>
    /// <param name="header">Of the file.</param>
    /// <param name="valuesOf">Reads a small tensor as float32.</param>
    /// <exception cref="BadInputException">A value is missing, wrong or not implemented; its key is named.</exception>
    public static ModelConfig Of(GgufHeader header, Func<GgufTensor, float[]> valuesOf)
    {
        var reader = new GgufConfig(header);
        var config = reader.Read(valuesOf);
        reader.RefuseUnread();
        config.Validate(header.Metadata.Path);
        return config;
    }

    private ModelConfig Read(Func<GgufTensor, float[]> valuesOf)
    {
        if (_metadata.OptionalFlag(Key("attention.causal")) == false) throw _metadata.Wrong(Key("attention.causal"), "false", "true");
        var hidden = Size("embedding_length");
        var heads = PerLayer("attention.head_count") ?? throw _metadata.Missing(Key("attention.head_count"));
        var vocabulary = Vocabulary(hidden);
        var headDim = HeadDim(hidden, heads);
        var rotary = Rotary(headDim);
        return new()
        {
            ModelType = _architecture.ModelType,
            HiddenSize = hidden,
            IntermediateSize = PerLayer("feed_forward_length") ?? throw _metadata.Missing(Key("feed_forward_length")),
            Layers = Size("block_count") is <= MostLayers and var layers
                ? layers
                : throw _metadata.Wrong(Key("block_count"), $"{Size("block_count")}", $"at most {MostLayers}"),
            AttentionHeads = heads,
            KeyValueHeads = KeyValueHeads(heads),
            HeadDim = headDim,
            VocabularySize = vocabulary,
            MaxPositions = Size("context_length"),
            NormEpsilon = Epsilon(_architecture.LayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"),
            RopeTheta = _architecture.Rotary ? Positive("rope.freq_base") ?? 10000 : 10000,
            RopeScaling = Scaling(rotary, valuesOf),
            RotaryFraction = Share(rotary, headDim),
            SlidingWindow = RefuseWindow(),
            AttentionBias = _architecture.AttentionBias
                && HasAny("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias", "attn_qkv.bias"),
            MlpBias = _architecture.MlpBias && HasAny("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"),
            ParallelResidual = _architecture.ParallelResidualKey
                && (_metadata.OptionalFlag(Key("use_parallel_residual")) ?? throw _metadata.Missing(Key("use_parallel_residual"))),
            TieWordEmbeddings = !_tensors.ContainsKey("output.weight"),
            BeginId = Token(GgufRoles.BeginKey, vocabulary),
            EndIds = [.. GgufRoles.EndKeys.Select(key => Token(key, vocabulary)).OfType<int>().Distinct()],
            PadId = Token(GgufRoles.PaddingKey, vocabulary),
        };
    }

    private string Key(string name)
    {
        var key = $"{_architecture.Name}.{name}";
        _read.Add(key);
        return key;
    }

    private int Size(string name) => _metadata.Size(Key(name));

    // One value, or the same for each layer.
    private int? PerLayer(string name)
    {
        var key = Key(name);
        if (!_metadata.IsArray(key)) return _metadata.OptionalSize(key);
        var values = _metadata.OptionalIntegers(key)!;
        return values.Length == Size("block_count") && Array.TrueForAll(values, value => value == values[0])
            && values[0] is >= 1 and <= int.MaxValue
            ? (int)values[0]
            : throw _metadata.Wrong(key, _metadata.ShownValue(key), $"the same size of at least 1 in each of {Size("block_count")} layers");
    }

    private int Vocabulary(int hidden)
    {
        const string Embedding = "token_embd.weight";
        if (!_tensors.TryGetValue(Embedding, out var tensor))
            throw new BadInputException($"{_metadata.Path}: tensor {Embedding} is missing");
        if (tensor.Shape.Length != 2 || tensor.Columns != hidden)
        {
            throw new BadInputException($"{_metadata.Path}: tensor {Embedding} has the shape [{string.Join(", ", tensor.Shape)}], "
                + $"expected rows of {hidden}, which is {Key("embedding_length")}");
        }

        foreach (var (key, count) in new[]
        {
            (TokensKey, _metadata.CountOf(TokensKey)), (Key("vocab_size"), _metadata.OptionalInteger(Key("vocab_size"))),
        })
        {
            if (count is not null && count != tensor.Rows)
            {
                throw new BadInputException($"{_metadata.Path}: {key} {(key == TokensKey ? "has" : "is")} {count}, "
                    + $"and tensor {Embedding} has {tensor.Rows} rows; expected as many");
            }
        }

        return tensor.Rows <= int.MaxValue ? (int)tensor.Rows
            : throw new BadInputException($"{_metadata.Path}: tensor {Embedding} has {tensor.Rows} rows, more than any vocabulary");
    }

    private int KeyValueHeads(int heads) => PerLayer("attention.head_count_kv") switch
    {
        null => heads,
        { } count when heads % count == 0 => count,
        { } count =>
            throw _metadata.Wrong(Key("attention.head_count_kv"), $"{count}", $"a divisor of {Key("attention.head_count")} {heads}"),
    };

    private int HeadDim(int hidden, int heads)
    {
        var (width, values) = (_metadata.OptionalSize(Key("attention.key_length")), _metadata.OptionalSize(Key("attention.value_length")));
        if (width is null && hidden % heads != 0)
            throw _metadata.Wrong(Key("attention.head_count"), $"{heads}", $"a divisor of {Key("embedding_length")} {hidden}");
        var headDim = width ?? hidden / heads;
        return (values ?? hidden / heads) == headDim
            ? headDim
            : throw _metadata.Wrong(Key("attention.value_length"), $"{values ?? hidden / heads}",
                $"{Key("attention.key_length")} {headDim}");
    }

    private int Rotary(int headDim)
    {
        if (!_architecture.Rotary) return headDim;
        var count = _metadata.OptionalSize(Key("rope.dimension_count")) ?? headDim;
        if (count == headDim || _architecture.PartialRotary && count < headDim && count % 2 == 0) return count;
        throw _metadata.Wrong(Key("rope.dimension_count"), $"{count}", _architecture.PartialRotary
            ? $"an even number of at most {headDim}, an attention head's width"
            : $"{headDim}, an attention head's width; no other is implemented for this architecture");
    }

    // A share that gives the count back.
    private static double Share(int count, int of)
    {
        var share = (double)count / of;
        return (int)(of * share) == count ? share : double.BitIncrement(share);
    }

    private double Epsilon(string name) => _metadata.Number(Key(name)) is >= 0 and < double.PositiveInfinity and var epsilon
        ? epsilon
        : throw _metadata.Wrong(Key(name), _metadata.ShownValue(Key(name)), "a finite number of at least 0");

    private double? Positive(string name) => _metadata.OptionalNumber(Key(name)) switch
    {
        null => null,
        >= ModelConfig.LeastTheta and <= ModelConfig.MostTheta and var number => number,
        _ => throw _metadata.Wrong(Key(name), _metadata.ShownValue(Key(name)),
            FormattableString.Invariant($"a number from {ModelConfig.LeastTheta} to {ModelConfig.MostTheta}")),
    };

    private RopeScaling? Scaling(int rotary, Func<GgufTensor, float[]> valuesOf)
    {
        if (!_architecture.Rotary) return null;
        if (Positive("rope.scaling.attn_factor") is { } attention and not 1)
            throw _metadata.Wrong(Key("rope.scaling.attn_factor"), FormattableString.Invariant($"{attention}"),
                "1; no other is implemented");
        var factor = ScalingFactor();
        if (!_architecture.RopeFactors || !_tensors.TryGetValue(RopeFactorsTensor, out var tensor))
            return factor == 1 ? null : new() { Factor = factor };
        if (tensor.Count != rotary / 2)
        {
            throw new BadInputException($"{_metadata.Path}: tensor {RopeFactorsTensor} has {tensor.Count} numbers, "
                + $"expected {rotary / 2}, one for each frequency");
        }

        var factors = valuesOf(tensor);
        var wrong = Array.FindIndex(factors, static value => !(value > 0 && float.IsFinite(value)));
        if (wrong >= 0)
        {
            throw new BadInputException(FormattableString.Invariant(
                $"{_metadata.Path}: tensor {RopeFactorsTensor} has {factors[wrong]} at {wrong}, expected positive finite numbers"));
        }

        return new() { Factor = 1, Factors = [.. factors.Select(value => (float)(value * factor))] };
    }

    // llama.cpp takes "linear" where no type is given, a factor of 0 for none, and the older key where the newer is absent.
    private double ScalingFactor()
    {
        var (newer, older) = (OptionalFactor("rope.scaling.factor"), OptionalFactor("rope.scale_linear"));
        if (newer is not null && older is not null && newer != older)
        {
            throw _metadata.Wrong(Key("rope.scale_linear"), FormattableString.Invariant($"{older}"),
                FormattableString.Invariant($"{newer}, as {Key("rope.scaling.factor")} is, which means the same"));
        }

        var factor = newer ?? older ?? 1;
        return _metadata.OptionalText(Key("rope.scaling.type")) switch
        {
            null or "linear" => factor,
            "none" => 1,
            { } type => throw _metadata.Wrong(Key("rope.scaling.type"), $"\"{type}\"", "\"linear\" or \"none\"; no other is implemented"),
        };
    }

    private double? OptionalFactor(string name) => _metadata.OptionalNumber(Key(name)) == 0 ? null : Positive(name);

    // No architecture here has one in llama.cpp. One that no text reaches changes nothing.
    private int? RefuseWindow()
    {
        var window = _metadata.OptionalInteger(Key("attention.sliding_window"));
        return window is null or 0 || window >= Size("context_length")
            ? null
            : throw _metadata.Wrong(Key("attention.sliding_window"), $"{window}",
                $"0 or at least {Key("context_length")} {Size("context_length")}; a window is not implemented for this architecture");
    }

    private bool HasAny(params string[] ends) => ends.Any(end => _tensors.ContainsKey($"blk.0.{end}"));

    private int? Token(string key, int vocabulary) => _metadata.OptionalInteger(key) switch
    {
        null => null,
        >= 0 and var id when id < vocabulary => (int)id,
        var other => throw _metadata.Wrong(key, $"{other}", $"a token of the vocabulary of {vocabulary}"),
    };

    private void RefuseUnread()
    {
        foreach (var key in _metadata.Keys)
        {
            if (key.StartsWith(_architecture.Name + '.', StringComparison.Ordinal) && !_read.Contains(key) && !_metadata.IsOff(key))
            {
                throw new BadInputException($"{_metadata.Path}: {BadInputException.Shown(key)} is "
                    + $"{BadInputException.Shown(_metadata.ShownValue(key))}, a setting that is not implemented for this architecture");
            }
        }

        if (_metadata.OptionalInteger("general.quantization_version") is { } version and not 2
            && _tensors.Values.Any(static tensor => tensor.Type.IsQuantized()))
            throw _metadata.Wrong("general.quantization_version", $"{version}", "2; quantize the model again with today's llama.cpp");
    }
}

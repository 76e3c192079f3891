using FedRLora.Abstractions;
using FedRLora.Training.Models;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>Writes a model's configuration as the metadata that <see cref="GgufConfig"/> reads.</summary>
internal static class GgufKeys
{
    /// <summary>Adds the architecture and its keys.</summary>
    /// <param name="writer">Gets them.</param>
    /// <param name="config">The configuration.</param>
    /// <param name="called">What messages call the file that it is from.</param>
    /// <exception cref="BadInputException">llama.cpp has no words for something in it; the key is named.</exception>
    public static GgufArchitecture Set(GgufWriter writer, ModelConfig config, string called)
    {
        var architecture = GgufArchitecture.For(config.ModelType, called);
        RefuseUnsayable(architecture, config, called);
        writer.Set("general.architecture", architecture.Name).Set("general.type", "model");
        string Key(string name) => $"{architecture.Name}.{name}";
        writer.Set(Key("block_count"), config.Layers)
            .Set(Key("context_length"), config.MaxPositions)
            .Set(Key("embedding_length"), config.HiddenSize)
            .Set(Key("feed_forward_length"), config.IntermediateSize)
            .Set(Key("attention.head_count"), config.AttentionHeads)
            .Set(Key("attention.head_count_kv"), config.KeyValueHeads)
            .Set(Key(architecture.LayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"), config.NormEpsilon)
            .Set(Key("attention.key_length"), config.HeadDim)
            .Set(Key("attention.value_length"), config.HeadDim)
            .Set(Key("vocab_size"), config.VocabularySize);
        if (architecture.ParallelResidualKey) writer.Set(Key("use_parallel_residual"), config.ParallelResidual);
        if (!architecture.Rotary) return architecture;
        writer.Set(Key("rope.dimension_count"), config.RotaryDim).Set(Key("rope.freq_base"), config.RopeTheta);
        if (config.RopeScaling is { Bands: null, Factors: null } linear)
            writer.Set(Key("rope.scaling.type"), "linear").Set(Key("rope.scaling.factor"), linear.Factor);
        return architecture;
    }

    /// <summary>The divisor of each frequency, where one for all does not say it.</summary>
    /// <remarks>The formula: <c>conversion/llama.py</c> of github.com/ggml-org/llama.cpp.</remarks>
    public static float[]? RopeFactors(ModelConfig config)
    {
        if (config.RopeScaling is not { } scaling) return null;
        if (scaling.Factors is { } given) return [.. given];
        if (scaling.Bands is not { } bands) return null;
        var factors = new float[config.RotaryDim / 2];
        for (var i = 0; i < factors.Length; i++)
        {
            var frequency = Math.Pow(config.RopeTheta, -2.0 * i / config.RotaryDim);
            var turns = bands.OriginalMaxPositions * frequency / (2 * Math.PI);
            var share = Math.Clamp((turns - bands.LowFrequency) / (bands.HighFrequency - bands.LowFrequency), 0, 1);
            factors[i] = (float)(1 / ((1 - share) / scaling.Factor + share));
        }

        return factors;
    }

    private static void RefuseUnsayable(GgufArchitecture architecture, ModelConfig config, string called)
    {
        void Refuse(bool wrong, string what)
        {
            if (wrong) throw new BadInputException($"{called}: {what}, which llama.cpp's architecture {architecture.Name} does not have");
        }

        Refuse(config.SlidingWindow < config.MaxPositions,
            $"sliding_window is {config.SlidingWindow} of {config.MaxPositions} positions");
        Refuse(config.RopeScaling is { } scaling && (scaling.Bands is not null || scaling.Factors is not null) && !architecture.RopeFactors,
            "rope_scaling has a factor for each frequency");
        Refuse(architecture.AlwaysTied && !config.TieWordEmbeddings, "tie_word_embeddings is false");
        Refuse(config.AttentionBias && !architecture.AttentionBias, "attention_bias is true");
        Refuse(!config.AttentionBias && architecture is { AttentionBias: true, FusedByHead: true }, "attention_bias is false");
        Refuse(architecture.PlainHeads && config.AttentionHeads * config.HeadDim != config.HiddenSize,
            $"num_attention_heads times head_dim is {config.AttentionHeads * config.HeadDim} and hidden_size is {config.HiddenSize}");
        Refuse(config.MlpBias && !architecture.MlpBias, "mlp_bias is true");
        Refuse(architecture.Rotary && !architecture.PartialRotary && config.RotaryDim != config.HeadDim, "a part of each head is rotary");
        RequireFloat32("rope_theta", config.RopeTheta);
        RequireFloat32("the norm's epsilon", config.NormEpsilon);
        if (config.RopeScaling is { Bands: null, Factors: null } linear) RequireFloat32("rope_scaling.factor", linear.Factor);

        // What a reader gets back is the shortest decimal of the float32; arithmetic is in float32.
        void RequireFloat32(string key, double value)
        {
            if (GgufMetadata.Shortest((float)value) != value && (float)value != value)
                throw new BadInputException(
                    FormattableString.Invariant($"{called}: {key} is {value}, which float32 does not hold as GGUF needs it"));
        }
    }
}

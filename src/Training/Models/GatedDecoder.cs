using System.Text.Json.Nodes;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>In what Llama's relatives differ from it, beyond what a configuration says.</summary>
internal sealed record GatedTraits
{
    /// <summary>Queries, keys and values always have biases.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Each attention head's queries and keys go through an RMS norm before they turn.</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>
    /// Gemma: norms store the distance from 1, embeddings are scaled by sqrt(D), and the gate is a GELU (tanh form), not SiLU.
    /// </summary>
    public bool IsGemma { get; init; }
}

/// <summary>
/// Llama's decoder and its relatives': rotary positions (half-split), RMS norms before attention and MLP, grouped-query attention,
/// a gated MLP. One body; the families differ by <see cref="GatedTraits"/> and by their configurations.
/// </summary>
internal sealed class GatedDecoder : CausalLanguageModel
{
    private readonly GatedTraits _traits;
    private readonly string[] _layerNames;

    private GatedDecoder(ModelConfig config, FrozenParameters parameters, GatedTraits traits)
        : base(config, parameters)
    {
        _traits = traits;
        _layerNames = [.. Enumerable.Range(0, config.Layers).Select(static layer => $"model.layers.{layer}.")];
        Linears = [.. _layerNames.SelectMany(name => LinearsOf(config, name))];
        Embedding = new("model.embed_tokens", config.VocabularySize, config.HiddenSize, LayerKind.Embedding);
        LmHead = new("lm_head", config.HiddenSize, config.VocabularySize, LayerKind.LmHead);
    }

    public override IReadOnlyList<LinearShape> Linears { get; }

    public override LinearShape Embedding { get; }

    public override LinearShape LmHead { get; }

    /// <summary>A family with this body.</summary>
    /// <param name="traits">What it does differently.</param>
    /// <param name="read">Takes the keys that not all relatives have; gets what <see cref="ReadConfig"/> found.</param>
    /// <param name="write">The reverse.</param>
    public static ModelFamily Family(
        GatedTraits traits, Func<ConfigReader, ModelConfig, ModelConfig> read, Action<ModelConfig, JsonObject> write) => new()
        {
            Prefix = "model.",
            ReadConfig = reader => read(reader, ReadConfig(reader)),
            WriteConfig = (config, json) =>
            {
                WriteConfig(config, json);
                write(config, json);
            },
            Parameters = config => ParametersOf(config, traits),
            Create = (config, parameters) => new GatedDecoder(config, parameters, traits),
        };

    internal override Tensor FinalNorm(Tensor x, ForwardPass pass) => Norm("model.norm.weight", x, pass);

    private protected override Tensor Embed(ForwardPass pass)
    {
        var x = base.Embed(pass);
        // the factor is rounded to the dtype, as in the reference
        return _traits.IsGemma ? pass.Scale(x, tensor(Math.Sqrt(Config.HiddenSize), x.dtype, x.device)) : x;
    }

    private protected override Tensor Layer(int layer, Tensor x, ForwardPass pass)
    {
        var name = _layerNames[layer];
        x = pass.Add(x, Attention(layer, name + "self_attn.", Norm(name + "input_layernorm.weight", x, pass), pass));
        return pass.Add(x, Mlp(name + "mlp.", Norm(name + "post_attention_layernorm.weight", x, pass), pass));
    }

    private Tensor Attention(int layer, string name, Tensor x, ForwardPass pass)
    {
        var parts = pass.Linear(x, [Frozen(name + "q_proj"), Frozen(name + "k_proj"), Frozen(name + "v_proj")]);
        var (query, key) = (parts[0], parts[1]);
        if (_traits.QueryKeyNorm)
        {
            query = Norm(name + "q_norm.weight", query, pass, Config.AttentionHeads);
            key = Norm(name + "k_norm.weight", key, pass, Config.KeyValueHeads);
        }

        return pass.Linear(pass.Attention(layer, query, key, parts[2]), Frozen(name + "o_proj"));
    }

    private Tensor Mlp(string name, Tensor x, ForwardPass pass)
    {
        var parts = pass.Linear(x, [Frozen(name + "gate_proj"), Frozen(name + "up_proj")]);
        return pass.Linear(pass.Gate(parts[0], parts[1], _traits.IsGemma ? Activation.GeluTanh : Activation.Silu),
            Frozen(name + "down_proj"));
    }

    private Tensor Norm(string parameter, Tensor x, ForwardPass pass, int parts = 1) =>
        pass.RmsNorm(x, Parameters[parameter], Config.NormEpsilon, _traits.IsGemma, parts);

    private static IEnumerable<LinearShape> LinearsOf(ModelConfig config, string layer)
    {
        var (queries, keys) = (checked(config.AttentionHeads * config.HeadDim), checked(config.KeyValueHeads * config.HeadDim));
        yield return new(layer + "self_attn.q_proj", config.HiddenSize, queries);
        yield return new(layer + "self_attn.k_proj", config.HiddenSize, keys);
        yield return new(layer + "self_attn.v_proj", config.HiddenSize, keys);
        yield return new(layer + "self_attn.o_proj", queries, config.HiddenSize);
        yield return new(layer + "mlp.gate_proj", config.HiddenSize, config.IntermediateSize);
        yield return new(layer + "mlp.up_proj", config.HiddenSize, config.IntermediateSize);
        yield return new(layer + "mlp.down_proj", config.IntermediateSize, config.HiddenSize);
    }

    private static IEnumerable<ParameterShape> ParametersOf(ModelConfig config, GatedTraits traits)
    {
        yield return new("model.embed_tokens.weight", [config.VocabularySize, config.HiddenSize]);
        for (var i = 0; i < config.Layers; i++)
        {
            var layer = $"model.layers.{i}.";
            yield return new(layer + "input_layernorm.weight", [config.HiddenSize]);
            foreach (var linear in LinearsOf(config, layer))
            {
                yield return new(linear.Module + ".weight", [linear.OutWidth, linear.InWidth]);
                if (HasBias(config, traits, linear.Module)) yield return new(linear.Module + ".bias", [linear.OutWidth]);
            }

            if (traits.QueryKeyNorm) yield return new(layer + "self_attn.q_norm.weight", [config.HeadDim]);
            if (traits.QueryKeyNorm) yield return new(layer + "self_attn.k_norm.weight", [config.HeadDim]);
            yield return new(layer + "post_attention_layernorm.weight", [config.HiddenSize]);
        }

        yield return new("model.norm.weight", [config.HiddenSize]);
        if (!config.TieWordEmbeddings) yield return new("lm_head.weight", [config.VocabularySize, config.HiddenSize]);
    }

    private static bool HasBias(ModelConfig config, GatedTraits traits, string module) => module.Contains(".mlp.", StringComparison.Ordinal)
        ? config.MlpBias
        : config.AttentionBias || traits.QueryKeyValueBias && !module.EndsWith("o_proj", StringComparison.Ordinal);

    private static ModelConfig ReadConfig(ConfigReader reader)
    {
        var (theta, scaling, _) = RopeScaling.Read(reader);
        var heads = reader.Size("num_attention_heads");
        return new ModelConfig
        {
            ModelType = reader.Text("model_type"),
            HiddenSize = reader.Size("hidden_size"),
            IntermediateSize = reader.Size("intermediate_size"),
            Layers = reader.Size("num_hidden_layers"),
            AttentionHeads = heads,
            KeyValueHeads = reader.OptionalSize("num_key_value_heads") ?? heads,
            HeadDim = reader.OptionalSize("head_dim") ?? reader.Share("num_attention_heads", "hidden_size"),
            VocabularySize = reader.Size("vocab_size"),
            MaxPositions = reader.OptionalSize("max_position_embeddings") ?? 2048,
            NormEpsilon = reader.Number("rms_norm_eps", absent: 1e-6),
            RopeTheta = theta,
            RopeScaling = scaling,
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: false),
            BeginId = reader.OptionalInteger("bos_token_id"),
            EndIds = reader.Integers("eos_token_id"),
            PadId = reader.OptionalInteger("pad_token_id"),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["hidden_act"] = "silu";
        json["hidden_size"] = config.HiddenSize;
        json["intermediate_size"] = config.IntermediateSize;
        json["num_hidden_layers"] = config.Layers;
        json["num_attention_heads"] = config.AttentionHeads;
        json["num_key_value_heads"] = config.KeyValueHeads;
        json["head_dim"] = config.HeadDim;
        json["max_position_embeddings"] = config.MaxPositions;
        json["rms_norm_eps"] = config.NormEpsilon;
        json["rope_theta"] = config.RopeTheta;
        json["rope_scaling"] = RopeScaling.Write(config);
    }
}

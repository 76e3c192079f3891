using System.Text.Json.Nodes;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// GPT-NeoX and Pythia: queries, keys and values fused head by head, rotary positions on a part of each attention head, attention and
/// MLP side by side or in turn, each after a layer norm of its own. Reference: <c>modeling_gpt_neox.py</c> of Hugging Face transformers.
/// </summary>
internal sealed class GptNeoX : CausalLanguageModel
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = new()
    {
        Prefix = "gpt_neox.",
        LmHead = "embed_out",
        Derived = [".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"],
        ReadConfig = ReadConfig,
        WriteConfig = WriteConfig,
        Parameters = ParametersOf,
        Create = static (config, parameters) => new GptNeoX(config, parameters),
    };

    private readonly string[] _layerNames;

    private GptNeoX(ModelConfig config, FrozenParameters parameters)
        : base(config, parameters)
    {
        _layerNames = [.. Enumerable.Range(0, config.Layers).Select(static layer => $"gpt_neox.layers.{layer}.")];
        Linears = [.. _layerNames.SelectMany(name => LinearsOf(config, name))];
        Embedding = new("gpt_neox.embed_in", config.VocabularySize, config.HiddenSize, LayerKind.Embedding);
        LmHead = new("embed_out", config.HiddenSize, config.VocabularySize, LayerKind.LmHead);
    }

    public override IReadOnlyList<LinearShape> Linears { get; }

    public override LinearShape Embedding { get; }

    public override LinearShape LmHead { get; }

    internal override Tensor FinalNorm(Tensor x, ForwardPass pass) => LayerNorm("gpt_neox.final_layer_norm", x, pass);

    private protected override Tensor Layer(int layer, Tensor x, ForwardPass pass)
    {
        var name = _layerNames[layer];
        var attended = pass.Add(x, Attention(layer, name + "attention.", LayerNorm(name + "input_layernorm", x, pass), pass));
        return pass.Add(attended,
            Mlp(name + "mlp.", LayerNorm(name + "post_attention_layernorm", Config.ParallelResidual ? x : attended, pass), pass));
    }

    private Tensor Attention(int layer, string name, Tensor x, ForwardPass pass)
    {
        var (query, key, value) = pass.SplitFused(pass.Linear(x, Frozen(name + "query_key_value")), Config.AttentionHeads, isByHead: true);
        return pass.Linear(pass.Attention(layer, query, key, value), Frozen(name + "dense"));
    }

    private Tensor Mlp(string name, Tensor x, ForwardPass pass) =>
        pass.Linear(pass.Activate(pass.Linear(x, Frozen(name + "dense_h_to_4h")), Activation.Gelu), Frozen(name + "dense_4h_to_h"));

    private static IEnumerable<LinearShape> LinearsOf(ModelConfig config, string layer)
    {
        var width = checked(config.AttentionHeads * config.HeadDim);
        yield return new(layer + "attention.query_key_value", config.HiddenSize, checked(3 * width));
        yield return new(layer + "attention.dense", width, config.HiddenSize);
        yield return new(layer + "mlp.dense_h_to_4h", config.HiddenSize, config.IntermediateSize);
        yield return new(layer + "mlp.dense_4h_to_h", config.IntermediateSize, config.HiddenSize);
    }

    private static IEnumerable<ParameterShape> ParametersOf(ModelConfig config)
    {
        yield return new("gpt_neox.embed_in.weight", [config.VocabularySize, config.HiddenSize]);
        for (var i = 0; i < config.Layers; i++)
        {
            var layer = $"gpt_neox.layers.{i}.";
            foreach (var norm in (string[])["input_layernorm", "post_attention_layernorm"])
            {
                yield return new($"{layer}{norm}.weight", [config.HiddenSize]);
                yield return new($"{layer}{norm}.bias", [config.HiddenSize]);
            }

            foreach (var linear in LinearsOf(config, layer))
            {
                yield return new(linear.Module + ".weight", [linear.OutWidth, linear.InWidth]);
                if (config.AttentionBias || linear.Module.Contains(".mlp.", StringComparison.Ordinal))
                    yield return new(linear.Module + ".bias", [linear.OutWidth]);
            }
        }

        yield return new("gpt_neox.final_layer_norm.weight", [config.HiddenSize]);
        yield return new("gpt_neox.final_layer_norm.bias", [config.HiddenSize]);
        if (!config.TieWordEmbeddings) yield return new("embed_out.weight", [config.VocabularySize, config.HiddenSize]);
    }

    private static ModelConfig ReadConfig(ConfigReader reader)
    {
        reader.OneOf("hidden_act", "gelu");
        var (theta, scaling, fraction) = RopeScaling.Read(reader, "rotary_emb_base", "rotary_pct", 0.25);
        var heads = reader.Size("num_attention_heads");
        return new ModelConfig
        {
            ModelType = reader.Text("model_type"),
            HiddenSize = reader.Size("hidden_size"),
            IntermediateSize = reader.Size("intermediate_size"),
            Layers = reader.Size("num_hidden_layers"),
            AttentionHeads = heads,
            KeyValueHeads = heads,
            HeadDim = reader.Share("num_attention_heads", "hidden_size"),
            VocabularySize = reader.Size("vocab_size"),
            MaxPositions = reader.OptionalSize("max_position_embeddings") ?? 2048,
            NormEpsilon = reader.Number("layer_norm_eps", absent: 1e-5),
            RopeTheta = theta,
            RopeScaling = scaling,
            RotaryFraction = fraction,
            AttentionBias = reader.Flag("attention_bias", absent: true),
            ParallelResidual = reader.Flag("use_parallel_residual", absent: true),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: false),
            BeginId = reader.OptionalInteger("bos_token_id"),
            EndIds = reader.Integers("eos_token_id"),
            PadId = reader.OptionalInteger("pad_token_id"),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("GPTNeoXForCausalLM");
        json["hidden_act"] = "gelu";
        json["hidden_size"] = config.HiddenSize;
        json["intermediate_size"] = config.IntermediateSize;
        json["num_hidden_layers"] = config.Layers;
        json["num_attention_heads"] = config.AttentionHeads;
        json["max_position_embeddings"] = config.MaxPositions;
        json["layer_norm_eps"] = config.NormEpsilon;
        json["rotary_emb_base"] = config.RopeTheta;
        json["rope_scaling"] = RopeScaling.Write(config);
        json["rotary_pct"] = config.RotaryFraction;
        json["attention_bias"] = config.AttentionBias;
        json["use_parallel_residual"] = config.ParallelResidual;
    }
}

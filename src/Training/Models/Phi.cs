using System.Text.Json.Nodes;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// Phi-1, 1.5 and 2: attention and MLP side by side after one layer norm, rotary positions on a part of each attention head, biases
/// everywhere, the LM head's included. Reference: <c>modeling_phi.py</c> of Hugging Face transformers.
/// </summary>
internal sealed class Phi : CausalLanguageModel
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = new()
    {
        Prefix = "model.",
        ReadConfig = ReadConfig,
        WriteConfig = WriteConfig,
        Parameters = ParametersOf,
        Create = static (config, parameters) => new Phi(config, parameters),
    };

    private readonly string[] _layerNames;

    private Phi(ModelConfig config, FrozenParameters parameters)
        : base(config, parameters)
    {
        _layerNames = [.. Enumerable.Range(0, config.Layers).Select(static layer => $"model.layers.{layer}.")];
        Linears = [.. _layerNames.SelectMany(name => LinearsOf(config, name))];
        Embedding = new("model.embed_tokens", config.VocabularySize, config.HiddenSize, LayerKind.Embedding);
        LmHead = new("lm_head", config.HiddenSize, config.VocabularySize, LayerKind.LmHead);
    }

    public override IReadOnlyList<LinearShape> Linears { get; }

    public override LinearShape Embedding { get; }

    public override LinearShape LmHead { get; }

    internal override Tensor FinalNorm(Tensor x, ForwardPass pass) => LayerNorm("model.final_layernorm", x, pass);

    private protected override Tensor Layer(int layer, Tensor x, ForwardPass pass)
    {
        var name = _layerNames[layer];
        var normed = LayerNorm(name + "input_layernorm", x, pass);
        return pass.Add(pass.Add(x, Attention(layer, name + "self_attn.", normed, pass)), Mlp(name + "mlp.", normed, pass));
    }

    private Tensor Attention(int layer, string name, Tensor x, ForwardPass pass)
    {
        var parts = pass.Linear(x, [Frozen(name + "q_proj"), Frozen(name + "k_proj"), Frozen(name + "v_proj")]);
        return pass.Linear(pass.Attention(layer, parts[0], parts[1], parts[2]), Frozen(name + "dense"));
    }

    private Tensor Mlp(string name, Tensor x, ForwardPass pass) =>
        pass.Linear(pass.Activate(pass.Linear(x, Frozen(name + "fc1")), Activation.GeluTanh), Frozen(name + "fc2"));

    private static IEnumerable<LinearShape> LinearsOf(ModelConfig config, string layer)
    {
        var (queries, keys) = (checked(config.AttentionHeads * config.HeadDim), checked(config.KeyValueHeads * config.HeadDim));
        yield return new(layer + "self_attn.q_proj", config.HiddenSize, queries);
        yield return new(layer + "self_attn.k_proj", config.HiddenSize, keys);
        yield return new(layer + "self_attn.v_proj", config.HiddenSize, keys);
        yield return new(layer + "self_attn.dense", queries, config.HiddenSize);
        yield return new(layer + "mlp.fc1", config.HiddenSize, config.IntermediateSize);
        yield return new(layer + "mlp.fc2", config.IntermediateSize, config.HiddenSize);
    }

    private static IEnumerable<ParameterShape> ParametersOf(ModelConfig config)
    {
        yield return new("model.embed_tokens.weight", [config.VocabularySize, config.HiddenSize]);
        for (var i = 0; i < config.Layers; i++)
        {
            var layer = $"model.layers.{i}.";
            yield return new(layer + "input_layernorm.weight", [config.HiddenSize]);
            yield return new(layer + "input_layernorm.bias", [config.HiddenSize]);
            foreach (var linear in LinearsOf(config, layer))
            {
                yield return new(linear.Module + ".weight", [linear.OutWidth, linear.InWidth]);
                yield return new(linear.Module + ".bias", [linear.OutWidth]);
            }
        }

        yield return new("model.final_layernorm.weight", [config.HiddenSize]);
        yield return new("model.final_layernorm.bias", [config.HiddenSize]);
        if (!config.TieWordEmbeddings) yield return new("lm_head.weight", [config.VocabularySize, config.HiddenSize]);
        yield return new("lm_head.bias", [config.VocabularySize]);
    }

    private static ModelConfig ReadConfig(ConfigReader reader)
    {
        reader.OneOf("hidden_act", "gelu_new", "gelu_pytorch_tanh");
        reader.Off("qk_layernorm");
        var (theta, scaling, fraction) = RopeScaling.Read(reader, fractionKey: "partial_rotary_factor", fraction: 0.5);
        var heads = reader.Size("num_attention_heads");
        return new ModelConfig
        {
            ModelType = reader.Text("model_type"),
            HiddenSize = reader.Size("hidden_size"),
            IntermediateSize = reader.Size("intermediate_size"),
            Layers = reader.Size("num_hidden_layers"),
            AttentionHeads = heads,
            KeyValueHeads = reader.OptionalSize("num_key_value_heads") ?? heads,
            HeadDim = reader.Share("num_attention_heads", "hidden_size"),
            VocabularySize = reader.Size("vocab_size"),
            MaxPositions = reader.OptionalSize("max_position_embeddings") ?? 2048,
            NormEpsilon = reader.Number("layer_norm_eps", absent: 1e-5),
            RopeTheta = theta,
            RopeScaling = scaling,
            RotaryFraction = fraction,
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: false),
            BeginId = reader.OptionalInteger("bos_token_id"),
            EndIds = reader.Integers("eos_token_id"),
            PadId = reader.OptionalInteger("pad_token_id"),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("PhiForCausalLM");
        json["hidden_act"] = "gelu_new";
        json["hidden_size"] = config.HiddenSize;
        json["intermediate_size"] = config.IntermediateSize;
        json["num_hidden_layers"] = config.Layers;
        json["num_attention_heads"] = config.AttentionHeads;
        json["num_key_value_heads"] = config.KeyValueHeads;
        json["max_position_embeddings"] = config.MaxPositions;
        json["layer_norm_eps"] = config.NormEpsilon;
        json["rope_theta"] = config.RopeTheta;
        json["rope_scaling"] = RopeScaling.Write(config);
        json["partial_rotary_factor"] = config.RotaryFraction;
    }
}

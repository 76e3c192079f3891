using System.Text.Json.Nodes;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// GPT-2: learned positions, layer norms, fused queries, keys and values, linear layers stored <c>[in, out]</c>. Reference:
/// <c>modeling_gpt2.py</c> of Hugging Face transformers.
/// </summary>
internal sealed class Gpt2 : CausalLanguageModel
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = new()
    {
        Prefix = "transformer.",
        Derived = [".attn.bias", ".attn.masked_bias"],
        ReadConfig = ReadConfig,
        WriteConfig = WriteConfig,
        Parameters = ParametersOf,
        Create = static (config, parameters) => new Gpt2(config, parameters),
    };

    private readonly string[] _layerNames;

    private Gpt2(ModelConfig config, FrozenParameters parameters)
        : base(config, parameters)
    {
        _layerNames = [.. Enumerable.Range(0, config.Layers).Select(static layer => $"transformer.h.{layer}.")];
        Linears = [.. _layerNames.SelectMany(name => LinearsOf(config, name))];
        Embedding = new("transformer.wte", config.VocabularySize, config.HiddenSize, LayerKind.Embedding);
        LmHead = new("lm_head", config.HiddenSize, config.VocabularySize, LayerKind.LmHead);
    }

    public override IReadOnlyList<LinearShape> Linears { get; }

    public override LinearShape Embedding { get; }

    public override LinearShape LmHead { get; }

    internal override bool HasRotary => false;

    internal override Tensor FinalNorm(Tensor x, ForwardPass pass) => LayerNorm("transformer.ln_f", x, pass);

    private protected override Tensor Embed(ForwardPass pass) => pass.AddPositions(base.Embed(pass), Parameters["transformer.wpe.weight"]);

    private protected override Tensor Layer(int layer, Tensor x, ForwardPass pass)
    {
        var name = _layerNames[layer];
        x = pass.Add(x, Attention(layer, name + "attn.", LayerNorm(name + "ln_1", x, pass), pass));
        return pass.Add(x, Mlp(name + "mlp.", LayerNorm(name + "ln_2", x, pass), pass));
    }

    private Tensor Attention(int layer, string name, Tensor x, ForwardPass pass)
    {
        var (query, key, value) = pass.SplitFused(pass.Linear(x, Frozen(name + "c_attn")), Config.AttentionHeads, isByHead: false);
        return pass.Linear(pass.Attention(layer, query, key, value), Frozen(name + "c_proj"));
    }

    private Tensor Mlp(string name, Tensor x, ForwardPass pass) => pass.Linear(
        pass.Activate(pass.Linear(x, Frozen(name + "c_fc")), Activation.GeluTanh), Frozen(name + "c_proj"));

    private static IEnumerable<LinearShape> LinearsOf(ModelConfig config, string layer)
    {
        var width = checked(config.AttentionHeads * config.HeadDim);
        yield return new(layer + "attn.c_attn", config.HiddenSize, checked(3 * width), LayerKind.Conv1D);
        yield return new(layer + "attn.c_proj", width, config.HiddenSize, LayerKind.Conv1D);
        yield return new(layer + "mlp.c_fc", config.HiddenSize, config.IntermediateSize, LayerKind.Conv1D);
        yield return new(layer + "mlp.c_proj", config.IntermediateSize, config.HiddenSize, LayerKind.Conv1D);
    }

    private static IEnumerable<ParameterShape> ParametersOf(ModelConfig config)
    {
        yield return new("transformer.wte.weight", [config.VocabularySize, config.HiddenSize]);
        yield return new("transformer.wpe.weight", [config.MaxPositions, config.HiddenSize]);
        for (var i = 0; i < config.Layers; i++)
        {
            var layer = $"transformer.h.{i}.";
            foreach (var norm in (string[])["ln_1", "ln_2"])
            {
                yield return new($"{layer}{norm}.weight", [config.HiddenSize]);
                yield return new($"{layer}{norm}.bias", [config.HiddenSize]);
            }

            foreach (var linear in LinearsOf(config, layer))
            {
                yield return new(linear.Module + ".weight", [linear.InWidth, linear.OutWidth]);
                yield return new(linear.Module + ".bias", [linear.OutWidth]);
            }
        }

        yield return new("transformer.ln_f.weight", [config.HiddenSize]);
        yield return new("transformer.ln_f.bias", [config.HiddenSize]);
        if (!config.TieWordEmbeddings) yield return new("lm_head.weight", [config.VocabularySize, config.HiddenSize]);
    }

    private static ModelConfig ReadConfig(ConfigReader reader)
    {
        reader.OneOf("activation_function", "gelu_new", "gelu_pytorch_tanh");
        foreach (var key in (string[])["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"])
            reader.Off(key);
        reader.On("scale_attn_weights");
        reader.Ignore("n_ctx", "n_special", "output_past", "predict_special_tokens", "summary_activation", "summary_first_dropout",
            "summary_proj_to_labels", "summary_type", "summary_use_proj");
        var (hidden, heads) = (reader.Size("n_embd"), reader.Size("n_head"));
        return new ModelConfig
        {
            ModelType = reader.Text("model_type"),
            HiddenSize = hidden,
            IntermediateSize = reader.OptionalSize("n_inner") ?? reader.Multiple("n_embd", 4),
            Layers = reader.Size("n_layer"),
            AttentionHeads = heads,
            KeyValueHeads = heads,
            HeadDim = reader.Share("n_head", "n_embd"),
            VocabularySize = reader.Size("vocab_size"),
            MaxPositions = reader.OptionalSize("n_positions") ?? 1024,
            NormEpsilon = reader.Number("layer_norm_epsilon", absent: 1e-5),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: true),
            BeginId = reader.OptionalInteger("bos_token_id"),
            EndIds = reader.Integers("eos_token_id"),
            PadId = reader.OptionalInteger("pad_token_id"),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("GPT2LMHeadModel");
        json["activation_function"] = "gelu_new";
        json["n_embd"] = config.HiddenSize;
        json["n_inner"] = config.IntermediateSize;
        json["n_layer"] = config.Layers;
        json["n_head"] = config.AttentionHeads;
        json["n_positions"] = config.MaxPositions;
        json["layer_norm_epsilon"] = config.NormEpsilon;
    }
}

using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// Llama: rotary positions (half-split), RMS norms, grouped-query attention, SwiGLU; no biases. Reference:
/// <c>modeling_llama.py</c> of Hugging Face transformers.
/// </summary>
internal sealed class Llama : CausalLanguageModel
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = new(ReadConfig, WriteConfig, ParametersOf, IsIgnored, static (config, parameters) => new Llama(config, parameters));

    private readonly string[] _layerNames;

    private Llama(ModelConfig config, IReadOnlyDictionary<string, Tensor> parameters)
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

    public override Tensor Hidden(Tensor inputIds, Tensor? attentionMask, ILayerAdapters? adapters, List<Tensor>? hiddenStates = null)
    {
        CheckInput(inputIds, attentionMask);
        var x = Blocks.Embed(inputIds, WeightOf(Embedding));
        x = adapters?.AdaptEmbedding(Embedding.Module, inputIds, x) ?? x;
        hiddenStates?.Add(x);
        using var tables = NewDisposeScope();
        var rotary = Blocks.RotaryTable(inputIds.shape[1], Config.HeadDim, Config.RopeTheta, x.device, x.dtype);
        for (var layer = 0; layer < Config.Layers; layer++)
        {
            var last = layer == Config.Layers - 1;
            var next = Layer(_layerNames[layer], x, rotary, adapters, last);
            if (hiddenStates is null) x.Dispose(); // what the backward pass needs of it is kept by the graph
            else hiddenStates.Add(next.MoveToOuterDisposeScope());
            x = next;
        }

        return hiddenStates is null ? x.MoveToOuterDisposeScope() : x;
    }

    public override Tensor LogitsOf(Tensor hidden, ILayerAdapters? adapters)
    {
        var logits = nn.functional.linear(hidden, WeightOf(LmHead));
        return adapters?.Adapt(LmHead.Module, hidden, logits) ?? logits;
    }

    private Tensor Layer(string name, Tensor input, (Tensor Cos, Tensor Sin) rotary, ILayerAdapters? adapters, bool last)
    {
        using var scope = NewDisposeScope();
        var x = input + Attention(name + "self_attn.", Norm(name + "input_layernorm.weight", input), rotary, adapters);
        x += Mlp(name + "mlp.", Norm(name + "post_attention_layernorm.weight", x), adapters);
        return (last ? Norm("model.norm.weight", x) : x).MoveToOuterDisposeScope();
    }

    private Tensor Attention(string name, Tensor x, (Tensor Cos, Tensor Sin) rotary, ILayerAdapters? adapters)
    {
        var query = Blocks.SplitHeads(Linear(name + "q_proj", x, adapters), Config.AttentionHeads);
        var key = Blocks.SplitHeads(Linear(name + "k_proj", x, adapters), Config.KeyValueHeads);
        var value = Blocks.SplitHeads(Linear(name + "v_proj", x, adapters), Config.KeyValueHeads);
        var mixed = Blocks.CausalAttention(Blocks.Rotate(query, rotary), Blocks.Rotate(key, rotary), value);
        return Linear(name + "o_proj", mixed, adapters);
    }

    private Tensor Mlp(string name, Tensor x, ILayerAdapters? adapters)
    {
        var gate = nn.functional.silu(Linear(name + "gate_proj", x, adapters));
        return Linear(name + "down_proj", gate * Linear(name + "up_proj", x, adapters), adapters);
    }

    private Tensor Linear(string module, Tensor x, ILayerAdapters? adapters)
    {
        var y = nn.functional.linear(x, Parameters[module + ".weight"]);
        return adapters?.Adapt(module, x, y) ?? y;
    }

    private Tensor Norm(string parameter, Tensor x) => Blocks.RmsNorm(x, Parameters[parameter], Config.NormEpsilon);

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

    private static IEnumerable<ParameterShape> ParametersOf(ModelConfig config)
    {
        yield return new("model.embed_tokens.weight", [config.VocabularySize, config.HiddenSize]);
        for (var i = 0; i < config.Layers; i++)
        {
            var layer = $"model.layers.{i}.";
            yield return new(layer + "input_layernorm.weight", [config.HiddenSize]);
            foreach (var linear in LinearsOf(config, layer)) yield return new(linear.Module + ".weight", [linear.OutWidth, linear.InWidth]);
            yield return new(layer + "post_attention_layernorm.weight", [config.HiddenSize]);
        }

        yield return new("model.norm.weight", [config.HiddenSize]);
        if (!config.TieWordEmbeddings) yield return new("lm_head.weight", [config.VocabularySize, config.HiddenSize]);
    }

    // Old exports store the rotary table; some store the tied LM head a second time.
    private static bool IsIgnored(ModelConfig config, string name) =>
        name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal) || config.TieWordEmbeddings && name == "lm_head.weight";

    private static ModelConfig ReadConfig(ConfigReader reader)
    {
        reader.Only("hidden_act", "silu");
        foreach (var key in (string[])["rope_scaling", "attention_bias", "mlp_bias", "attention_dropout", "sliding_window", "quantization_config"]) reader.Off(key);
        var (hidden, heads) = (reader.Integer("hidden_size"), reader.Integer("num_attention_heads"));
        return new ModelConfig
        {
            ModelType = reader.Text("model_type"),
            HiddenSize = hidden,
            IntermediateSize = reader.Integer("intermediate_size"),
            Layers = reader.Integer("num_hidden_layers"),
            AttentionHeads = heads,
            KeyValueHeads = reader.OptionalInteger("num_key_value_heads") ?? heads,
            HeadDim = reader.OptionalInteger("head_dim") ?? hidden / Math.Max(1, heads),
            VocabularySize = reader.Integer("vocab_size"),
            MaxPositions = reader.OptionalInteger("max_position_embeddings") ?? 2048,
            NormEpsilon = reader.Number("rms_norm_eps", absent: 1e-6),
            RopeTheta = reader.Number("rope_theta", absent: 10000),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: false),
            BeginId = reader.OptionalInteger("bos_token_id"),
            EndIds = reader.Integers("eos_token_id"),
            PadId = reader.OptionalInteger("pad_token_id"),
        };
    }

    private static string WriteConfig(ModelConfig config) => new JsonObject
    {
        ["architectures"] = new JsonArray("LlamaForCausalLM"),
        ["model_type"] = config.ModelType,
        ["hidden_act"] = "silu",
        ["hidden_size"] = config.HiddenSize,
        ["intermediate_size"] = config.IntermediateSize,
        ["num_hidden_layers"] = config.Layers,
        ["num_attention_heads"] = config.AttentionHeads,
        ["num_key_value_heads"] = config.KeyValueHeads,
        ["head_dim"] = config.HeadDim,
        ["vocab_size"] = config.VocabularySize,
        ["max_position_embeddings"] = config.MaxPositions,
        ["rms_norm_eps"] = config.NormEpsilon,
        ["rope_theta"] = config.RopeTheta,
        ["rope_scaling"] = null,
        ["tie_word_embeddings"] = config.TieWordEmbeddings,
        ["attention_bias"] = false,
        ["mlp_bias"] = false,
        ["bos_token_id"] = config.BeginId,
        ["eos_token_id"] = config.EndIds.Count == 1 ? config.EndIds[0] : config.EndIds.Count == 0 ? null : new JsonArray([.. config.EndIds.Select(static id => JsonValue.Create(id))]),
        ["pad_token_id"] = config.PadId,
    }.ToJsonString(new() { WriteIndented = true });
}

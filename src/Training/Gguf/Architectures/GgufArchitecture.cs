using FedRLora.Abstractions;
using FedRLora.Training.Models;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>
/// An architecture of llama.cpp that is one of our model families under other names. Names: <c>gguf-py/gguf/tensor_mapping.py</c> and
/// <c>conversion/</c> of github.com/ggml-org/llama.cpp.
/// </summary>
internal sealed record GgufArchitecture
{
    private static readonly Dictionary<string, string> GatedTensors = new(StringComparer.Ordinal)
    {
        ["model.embed_tokens"] = "token_embd",
        ["model.norm"] = "output_norm",
        ["lm_head"] = "output",
        ["input_layernorm"] = "attn_norm",
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        ["self_attn.o_proj"] = "attn_output",
        ["self_attn.q_norm"] = "attn_q_norm",
        ["self_attn.k_norm"] = "attn_k_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    /// <summary>Every architecture that is read and written.</summary>
    public static readonly IReadOnlyList<GgufArchitecture> All =
    [
        new()
        {
            Name = "llama", ModelType = "llama", Layers = "model.layers.", Tensors = GatedTensors,
            InterleavedHeads = true, RopeFactors = true, AttentionBias = true, MlpBias = true,
        },
        new() { Name = "qwen2", ModelType = "qwen2", Layers = "model.layers.", Tensors = GatedTensors, PlainHeads = true },
        new() { Name = "qwen3", ModelType = "qwen3", Layers = "model.layers.", Tensors = GatedTensors },
        new()
        {
            Name = "gemma", ModelType = "gemma", Layers = "model.layers.", Tensors = GatedTensors, NormsPlusOne = true, AlwaysTied = true,
        },
        new()
        {
            Name = "phi2", ModelType = "phi", Layers = "model.layers.", LayerNorm = true, PartialRotary = true,
            Tensors = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["model.embed_tokens"] = "token_embd",
                ["model.final_layernorm"] = "output_norm",
                ["lm_head"] = "output",
                ["input_layernorm"] = "attn_norm",
                ["self_attn.q_proj"] = "attn_q",
                ["self_attn.k_proj"] = "attn_k",
                ["self_attn.v_proj"] = "attn_v",
                ["self_attn.dense"] = "attn_output",
                ["mlp.fc1"] = "ffn_up",
                ["mlp.fc2"] = "ffn_down",
            },
        },
        new()
        {
            Name = "gpt2", ModelType = "gpt2", Layers = "transformer.h.", LayerNorm = true, Rotary = false, TransposedLinears = true,
            Tensors = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["transformer.wte"] = "token_embd",
                ["transformer.wpe"] = "position_embd",
                ["transformer.ln_f"] = "output_norm",
                ["lm_head"] = "output",
                ["ln_1"] = "attn_norm",
                ["attn.c_attn"] = "attn_qkv",
                ["attn.c_proj"] = "attn_output",
                ["ln_2"] = "ffn_norm",
                ["mlp.c_fc"] = "ffn_up",
                ["mlp.c_proj"] = "ffn_down",
            },
        },
        new()
        {
            Name = "gptneox", ModelType = "gpt_neox", Layers = "gpt_neox.layers.", LayerNorm = true, PartialRotary = true,
            FusedByHead = true, ParallelResidualKey = true, AttentionBias = true,
            Tensors = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["gpt_neox.embed_in"] = "token_embd",
                ["gpt_neox.final_layer_norm"] = "output_norm",
                ["embed_out"] = "output",
                ["input_layernorm"] = "attn_norm",
                ["attention.query_key_value"] = "attn_qkv",
                ["attention.dense"] = "attn_output",
                ["post_attention_layernorm"] = "ffn_norm",
                ["mlp.dense_h_to_4h"] = "ffn_up",
                ["mlp.dense_4h_to_h"] = "ffn_down",
            },
        },
    ];

    /// <summary>The value of <c>general.architecture</c>, and the first part of the keys.</summary>
    public required string Name { get; init; }

    /// <summary>The family, as in <see cref="ModelRegistry"/>.</summary>
    public required string ModelType { get; init; }

    /// <summary>What stands before a layer's number in Hugging Face's names; llama.cpp's is <c>blk.</c>.</summary>
    public required string Layers { get; init; }

    /// <summary>llama.cpp's name of each module; of a layer's modules what follows its number.</summary>
    public required IReadOnlyDictionary<string, string> Tensors { get; init; }

    /// <summary>Rows of queries and keys: the two members of a rotary pair are neighbours in the file.</summary>
    public bool InterleavedHeads { get; init; }

    /// <summary>Rows of fused queries, keys and values: all queries come first in the file, not those of one attention head.</summary>
    public bool FusedByHead { get; init; }

    /// <summary>The layers' linear weights are <c>[out, in]</c> in the file and <c>[in, out]</c> in Hugging Face's layout.</summary>
    public bool TransposedLinears { get; init; }

    /// <summary>The file has the whole factor of a norm, Hugging Face its distance from 1.</summary>
    public bool NormsPlusOne { get; init; }

    /// <summary>Layer norms; else RMS norms.</summary>
    public bool LayerNorm { get; init; }

    /// <summary>Positions turn the queries and keys.</summary>
    public bool Rotary { get; init; } = true;

    /// <summary>A part of each attention head may turn, not all of it.</summary>
    public bool PartialRotary { get; init; }

    /// <summary>May have the tensor <c>rope_freqs.weight</c>.</summary>
    public bool RopeFactors { get; init; }

    /// <summary>The key that says whether attention and MLP stand side by side.</summary>
    public bool ParallelResidualKey { get; init; }

    /// <summary>The attention's linear layers have biases where the file has them; otherwise as the family always or never has.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>The same of the MLP's.</summary>
    public bool MlpBias { get; init; }

    /// <summary>llama.cpp reads attention heads that together have the model's width alone.</summary>
    public bool PlainHeads { get; init; }

    /// <summary>The LM head is the embedding in every model.</summary>
    public bool AlwaysTied { get; init; }

    /// <summary>The architecture of a file.</summary>
    /// <exception cref="BadInputException">Absent, not known, or a file that is no language model.</exception>
    public static GgufArchitecture Of(GgufMetadata metadata)
    {
        if (metadata.OptionalText("general.type") is { } type and not "model")
            throw metadata.Wrong("general.type", $"\"{type}\"", "\"model\": an adapter or a projector is no model of its own");
        var name = metadata.Text("general.architecture");
        return All.FirstOrDefault(architecture => architecture.Name == name)
            ?? throw metadata.Wrong("general.architecture", $"\"{name}\"",
                $"one of {string.Join(", ", All.Select(static one => one.Name))}");
    }

    /// <summary>The architecture that a family is written as.</summary>
    /// <param name="modelType">As in <c>config.json</c>.</param>
    /// <param name="called">What messages call that file.</param>
    /// <exception cref="BadInputException">llama.cpp has none that computes the same.</exception>
    public static GgufArchitecture For(string modelType, string called) =>
        All.FirstOrDefault(architecture => architecture.ModelType == (modelType == "mistral" ? "llama" : modelType))
        ?? throw new BadInputException($"{called}: model_type is \"{BadInputException.Shown(modelType)}\", which is not written as GGUF; "
            + $"expected mistral or one of {string.Join(", ", All.Select(static one => one.ModelType))}");

    /// <summary>llama.cpp's name of a parameter; null where it has none.</summary>
    /// <param name="parameter">Hugging Face's.</param>
    public string? NameOf(string parameter)
    {
        var end = parameter.LastIndexOf('.');
        return end < 0 ? null : ModuleNameOf(parameter[..end]) is { } module ? module + parameter[end..] : null;
    }

    /// <summary>The same of a module, which has no <c>.weight</c> at its end.</summary>
    public string? ModuleNameOf(string module)
    {
        if (!module.StartsWith(Layers, StringComparison.Ordinal)) return Tensors.GetValueOrDefault(module);
        var rest = module[Layers.Length..];
        var dot = rest.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && Tensors.GetValueOrDefault(rest[(dot + 1)..]) is { } name ? $"blk.{rest[..dot]}.{name}" : null;
    }
}

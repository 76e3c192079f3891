using System.Text.Json.Nodes;

namespace FedRLora.Training.Models;

/// <summary>
/// Gemma (1): Llama with norms stored as the distance from 1, embeddings scaled by sqrt(D), a GELU gate, and mostly one key and value
/// head. Reference: <c>modeling_gemma.py</c> of Hugging Face transformers.
/// </summary>
internal static class Gemma
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = GatedDecoder.Family(new() { IsGemma = true }, ReadConfig, WriteConfig);

    private static ModelConfig ReadConfig(ConfigReader reader, ModelConfig config)
    {
        // The first published configurations say "gelu"; the reference computes the tanh form for them too.
        if (reader.Has("hidden_act")) reader.OneOf("hidden_act", "gelu_pytorch_tanh", "gelu");
        if (reader.Has("hidden_activation")) reader.OneOf("hidden_activation", "gelu_pytorch_tanh");
        return config with
        {
            HeadDim = reader.OptionalSize("head_dim") ?? 256,
            AttentionBias = reader.Flag("attention_bias", absent: false),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", absent: true),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("GemmaForCausalLM");
        json["hidden_act"] = "gelu_pytorch_tanh";
        json["attention_bias"] = config.AttentionBias;
    }
}

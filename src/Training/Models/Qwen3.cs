using System.Text.Json.Nodes;

namespace FedRLora.Training.Models;

/// <summary>
/// Qwen3 (dense): Llama with an RMS norm on each attention head's queries and keys.
/// Reference: <c>modeling_qwen3.py</c> of Hugging Face transformers.
/// </summary>
internal static class Qwen3
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = GatedDecoder.Family(new() { QueryKeyNorm = true }, ReadConfig, WriteConfig);

    private static ModelConfig ReadConfig(ConfigReader reader, ModelConfig config)
    {
        reader.OneOf("hidden_act", "silu");
        Qwen2.RefuseSlidingWindow(reader);
        return config with
        {
            HeadDim = reader.OptionalSize("head_dim") ?? 128,
            AttentionBias = reader.Flag("attention_bias", absent: false),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("Qwen3ForCausalLM");
        json["attention_bias"] = config.AttentionBias;
    }
}

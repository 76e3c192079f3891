using System.Text.Json.Nodes;

namespace FedRLora.Training.Models;

/// <summary>
/// Llama 1 to 3: the decoder that the relatives are measured by. Reference: <c>modeling_llama.py</c> of Hugging Face transformers.
/// </summary>
internal static class Llama
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = GatedDecoder.Family(new(), ReadConfig, WriteConfig);

    private static ModelConfig ReadConfig(ConfigReader reader, ModelConfig config)
    {
        reader.OneOf("hidden_act", "silu");
        reader.Ignore("is_llama_config"); // SmolLM2 says so
        return config with
        {
            AttentionBias = reader.Flag("attention_bias", absent: false),
            MlpBias = reader.Flag("mlp_bias", absent: false),
        };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("LlamaForCausalLM");
        json["attention_bias"] = config.AttentionBias;
        json["mlp_bias"] = config.MlpBias;
    }
}

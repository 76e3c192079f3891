using System.Text.Json.Nodes;

namespace FedRLora.Training.Models;

/// <summary>
/// Mistral: Llama with a sliding window over the keys. Reference: <c>modeling_mistral.py</c> of Hugging Face transformers.
/// </summary>
internal static class Mistral
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = GatedDecoder.Family(new(), ReadConfig, WriteConfig);

    private static ModelConfig ReadConfig(ConfigReader reader, ModelConfig config)
    {
        reader.OneOf("hidden_act", "silu");
        return config with { SlidingWindow = reader.OptionalSize("sliding_window") };
    }

    private static void WriteConfig(ModelConfig config, JsonObject json)
    {
        json["architectures"] = new JsonArray("MistralForCausalLM");
        json["sliding_window"] = config.SlidingWindow;
    }
}

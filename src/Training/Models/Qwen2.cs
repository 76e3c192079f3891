using System.Text.Json.Nodes;

namespace FedRLora.Training.Models;

/// <summary>
/// Qwen2 and Qwen2.5: Llama with biases on queries, keys and values. A sliding window in the upper layers, which published
/// configurations mention and switch off, is refused. Reference: <c>modeling_qwen2.py</c> of Hugging Face transformers.
/// </summary>
internal static class Qwen2
{
    /// <summary>The family's line in <see cref="ModelRegistry"/>.</summary>
    public static readonly ModelFamily Family = GatedDecoder.Family(new() { QueryKeyValueBias = true }, ReadConfig, WriteConfig);

    private static ModelConfig ReadConfig(ConfigReader reader, ModelConfig config)
    {
        reader.OneOf("hidden_act", "silu");
        RefuseSlidingWindow(reader);
        return config;
    }

    private static void WriteConfig(ModelConfig config, JsonObject json) => json["architectures"] = new JsonArray("Qwen2ForCausalLM");

    /// <summary>The window is in use only where its switch or the list of layer types says so; its size alone means nothing.</summary>
    internal static void RefuseSlidingWindow(ConfigReader reader)
    {
        reader.Off("use_sliding_window");
        reader.Every("layer_types", "full_attention");
        reader.Ignore("sliding_window", "max_window_layers");
    }
}

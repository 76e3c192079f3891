using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Models;

/// <summary>A two-layer model of each family, with what sets the family apart switched on.</summary>
internal static class TinyModels
{
    public static IReadOnlyDictionary<string, ModelConfig> Configs { get; } = new[]
    {
        TinyLlama.Config,
        TinyLlama.Config with { ModelType = "mistral", SlidingWindow = 5 },
        TinyLlama.Config with { ModelType = "qwen2", KeyValueHeads = 1, TieWordEmbeddings = true },
        TinyLlama.Config with { ModelType = "qwen3", TieWordEmbeddings = true },
        TinyLlama.Config with { ModelType = "gemma", KeyValueHeads = 1, TieWordEmbeddings = true },
        TinyLlama.Config with { ModelType = "gpt2", KeyValueHeads = 4, HeadDim = 4, TieWordEmbeddings = true },
        TinyLlama.Config with { ModelType = "phi", HeadDim = 4, RotaryFraction = 0.5 },
        TinyLlama.Config with { ModelType = "gpt_neox", KeyValueHeads = 4, HeadDim = 4, RotaryFraction = 0.5, AttentionBias = true },
    }.ToDictionary(static config => config.ModelType);

    /// <summary>Every <c>model_type</c> of the registry; a family without a tiny model fails where it is used.</summary>
    public static TheoryData<string> Families => [.. ModelRegistry.ModelTypes];
}

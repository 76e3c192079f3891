using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>The model of the training benchmarks, drawn at random: width 288, 6 layers, hidden 768, vocabulary 32,000.</summary>
internal static class BenchmarkModel
{
    public static readonly ModelConfig Config = new()
    {
        ModelType = "llama", HiddenSize = 288, IntermediateSize = 768, Layers = 6, AttentionHeads = 6, KeyValueHeads = 6, HeadDim = 48,
        VocabularySize = 32_000, MaxPositions = 1024, NormEpsilon = 1e-5, RopeTheta = 10_000,
    };

    /// <summary>A small one: width 64, 5 layers, hidden 172, vocabulary 512, embedding and LM head tied.</summary>
    public static readonly ModelConfig Small = new()
    {
        ModelType = "llama", HiddenSize = 64, IntermediateSize = 172, Layers = 5, AttentionHeads = 8, KeyValueHeads = 4, HeadDim = 8,
        VocabularySize = 512, MaxPositions = 512, NormEpsilon = 1e-5, RopeTheta = 10_000, TieWordEmbeddings = true,
    };

    /// <summary>A model whose loss is near that of guessing.</summary>
    public static CausalLanguageModel Create(Device device) => Create(Config, device);

    /// <inheritdoc cref="Create(Device)"/>
    public static CausalLanguageModel Create(ModelConfig config, Device device)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        var parameters = ModelRegistry.ExpectedParameters(config).ToDictionary(static parameter => parameter.Name, parameter =>
        {
            var value = parameter.Shape is [_] ? ones([.. parameter.Shape]) : empty([.. parameter.Shape]).normal_(0, 0.05, generator);
            return value.to(device).DetachFromDisposeScope();
        }, StringComparer.Ordinal);
        return ModelRegistry.Create(config, parameters);
    }
}

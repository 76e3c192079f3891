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

    /// <summary>A model whose loss is near that of guessing.</summary>
    public static CausalLanguageModel Create(Device device)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        var parameters = ModelRegistry.ExpectedParameters(Config).ToDictionary(static parameter => parameter.Name, parameter =>
        {
            var value = parameter.Shape is [_] ? ones([.. parameter.Shape]) : empty([.. parameter.Shape]).normal_(0, 0.05, generator);
            return value.to(device).DetachFromDisposeScope();
        }, StringComparer.Ordinal);
        return ModelRegistry.Create(Config, parameters);
    }
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>A two-layer Llama with drawn weights, for tests that need a model but no reference.</summary>
internal static class TinyLlama
{
    public static ModelConfig Config { get; } = new()
    {
        ModelType = "llama", HiddenSize = 16, IntermediateSize = 24, Layers = 2, AttentionHeads = 4, KeyValueHeads = 2, HeadDim = 6,
        VocabularySize = 32, MaxPositions = 20, NormEpsilon = 1e-5, BeginId = 1, EndIds = [2],
    };

    public static CausalLanguageModel Create(ModelConfig? config = null, ScalarType dtype = ScalarType.Float32) =>
        ModelRegistry.Create(config ?? Config, Arrays(config ?? Config).ToDictionary(
            static entry => entry.Key, entry => tensor(entry.Value.Data, [.. entry.Value.Shape]).to(dtype).DetachFromDisposeScope()));

    public static AdapterState Arrays(ModelConfig config)
    {
        using var generator = new Generator(Seed.For(1, 0, "", "tiny-llama"), CPU);
        return new AdapterState(ModelRegistry.ExpectedParameters(config).Select(parameter =>
        {
            using var drawn = randn(parameter.Shape, ScalarType.Float32, CPU, generator: generator);
            return KeyValuePair.Create(parameter.Name,
                new NamedArray(parameter.Shape, [.. drawn.data<float>().Select(static value => 0.3f * value)]));
        }));
    }

    public static Tensor Ids(params long[] ids) => tensor(ids, [1, ids.Length], ScalarType.Int64);
}

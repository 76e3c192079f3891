using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>A model folder in memory: one for all clients on a device, read-only.</summary>
internal sealed class FrozenBase(CausalLanguageModel model, Tokenizer tokenizer) : IDisposable
{
    public CausalLanguageModel Model { get; } = model;

    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Loads the tokenizer, then the weights.</summary>
    /// <exception cref="BadInputException">The folder is not usable.</exception>
    public static FrozenBase Load(string folder, Device device)
    {
        var tokenizer = Tokenizer.Load(folder);
        var model = ModelRegistry.Load(folder, device, ScalarType.Float32);
        if (tokenizer.VocabularySize <= model.Config.VocabularySize) return new(model, tokenizer);
        model.Dispose();
        throw new BadInputException($"{folder}: the tokenizer has ids up to {tokenizer.VocabularySize - 1}, the model's vocabulary ends at {model.Config.VocabularySize - 1}; they do not belong together");
    }

    /// <summary>The adaptable linears of a model folder, from its <c>config.json</c> alone.</summary>
    /// <exception cref="BadInputException">The configuration is missing or not implemented.</exception>
    public static IReadOnlyList<LinearShape> LinearsOf(string folder)
    {
        using var scope = NewDisposeScope();
        var config = ModelConfig.Load(folder);
        var shapes = ModelRegistry.ExpectedParameters(config).ToDictionary(static parameter => parameter.Name, static parameter => empty(parameter.Shape, device: META), StringComparer.Ordinal);
        return ModelRegistry.Create(config, shapes).Linears;
    }

    public void Dispose() => Model.Dispose();
}

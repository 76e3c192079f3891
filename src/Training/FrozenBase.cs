using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>A model folder in memory: one for all clients on a device, read-only.</summary>
internal sealed class FrozenBase(CausalLanguageModel model, Tokenizer tokenizer, Lazy<ChatTemplate?> chat) : IDisposable
{
    public CausalLanguageModel Model { get; } = model;

    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Tokens that end a text: the configuration's, the tokenizer's and those of <c>generation_config.json</c>.</summary>
    public IReadOnlySet<int> EndIds { get; private init; } = new HashSet<int>();

    /// <summary>The content that was loaded.</summary>
    public BaseParts? Parts { get; private init; }

    /// <summary>The folder's chat template, read when it is first asked for; null where it has none.</summary>
    /// <exception cref="BadInputException">The template is not valid.</exception>
    public ChatTemplate? Chat => chat.Value;

    /// <summary>Checks the folder as a whole, then loads the weights.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="device">Where the weights go.</param>
    /// <param name="storage">As what they lie there.</param>
    /// <param name="parts">What the folder holds, where the caller knows it.</param>
    /// <exception cref="BadInputException">The folder is not usable.</exception>
    public static FrozenBase Load(string folder, Device device, WeightStorage storage = WeightStorage.Float32, BaseParts? parts = null)
    {
        var tokenizer = Check(folder);
        var model = ModelRegistry.Load(folder, device, storage switch
        {
            WeightStorage.Bfloat16 => ScalarType.BFloat16,
            WeightStorage.Float16 => ScalarType.Float16,
            _ => ScalarType.Float32,
        });
        int[] own = tokenizer.EndId is { } end ? [end] : [];
        return new(model, tokenizer, new(() => ChatTemplate.Find(folder)))
        {
            EndIds = own.Concat(model.Config.EndIds).Concat(GenerationEndIds(folder)).ToHashSet(), Parts = parts,
        };
    }

    /// <summary>Checks everything that <see cref="Load"/> needs, without reading a tensor.</summary>
    /// <inheritdoc cref="Load" path="/exception"/>
    public static Tokenizer Check(string folder)
    {
        GivenPath.RequireModel(folder);
        var tokenizer = Tokenizer.Load(folder);
        var config = ModelRegistry.Check(folder);
        _ = GenerationEndIds(folder);
        return tokenizer.VocabularySize <= config.VocabularySize
            ? tokenizer
            : throw new BadInputException($"{folder}: the tokenizer has ids up to {tokenizer.VocabularySize - 1}, "
                + $"the model's vocabulary ends at {config.VocabularySize - 1}; they do not belong together");
    }

    /// <summary>Rows to token ids, within what the model takes.</summary>
    public RowEncoder Encoder(int maxTokens) => new(Tokenizer, Math.Min(maxTokens, Model.Config.MaxPositions), () => Chat);

    /// <summary>The adaptable layers of a model folder, from its <c>config.json</c> alone.</summary>
    /// <exception cref="BadInputException">The configuration is missing or not implemented.</exception>
    public static IReadOnlyList<LinearShape> LayersOf(string folder)
    {
        using var scope = NewDisposeScope();
        var config = ModelConfig.Load(folder);
        var shapes = ModelRegistry.ExpectedParameters(config).ToDictionary(static parameter => parameter.Name,
            static parameter => empty(parameter.Shape, device: META), StringComparer.Ordinal);
        return ModelRegistry.Create(config, shapes).AdaptableLayers;
    }

    public void Dispose() => Model.Dispose();

    private static IReadOnlyList<int> GenerationEndIds(string folder)
    {
        var path = Path.Combine(folder, "generation_config.json");
        return File.Exists(path)
            ? ConfigReader.Read(ConfigReader.TextOf(path), path, static reader => reader.Integers("eos_token_id")) : [];
    }
}

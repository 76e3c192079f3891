using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>A model in memory: one for all clients on a device, read-only.</summary>
internal sealed class FrozenBase(CausalLanguageModel model, Tokenizer tokenizer, Lazy<ChatTemplate?> chat) : IDisposable
{
    private const string Generation = "generation_config.json";

    public CausalLanguageModel Model { get; } = model;

    public Tokenizer Tokenizer { get; } = tokenizer;

    /// <summary>Tokens that end a text: the configuration's, the tokenizer's and those of <c>generation_config.json</c>.</summary>
    public IReadOnlySet<int> EndIds { get; private init; } = new HashSet<int>();

    /// <summary>The content that was loaded.</summary>
    public BaseParts? Parts { get; private init; }

    /// <summary>The folder's chat template, read when it is first asked for; null where it has none.</summary>
    /// <exception cref="BadInputException">The template is not valid.</exception>
    public ChatTemplate? Chat => chat.Value;

    /// <summary>Checks the model as a whole, then loads the weights.</summary>
    /// <param name="path">A Hugging Face folder or a GGUF file.</param>
    /// <param name="device">Where the weights go.</param>
    /// <param name="storage">As what they lie there.</param>
    /// <param name="parts">What the model holds, where the caller knows it.</param>
    /// <exception cref="BadInputException">The model is not usable.</exception>
    public static FrozenBase Load(string path, Device device, WeightStorage storage = WeightStorage.AsStored, BaseParts? parts = null)
    {
        GivenPath.RequireModel(path);
        var source = ModelSource.At(path);
        var tokenizer = Check(source);
        var model = ModelRegistry.Load(source, device, storage);
        int[] own = tokenizer.EndId is { } end ? [end] : [];
        return new(model, tokenizer, new(() => ChatTemplate.Find(source)))
        {
            EndIds = own.Concat(model.Config.EndIds).Concat(GenerationEndIds(source)).ToHashSet(), Parts = parts,
        };
    }

    /// <summary>Checks everything that <see cref="Load"/> needs, without reading a tensor.</summary>
    /// <inheritdoc cref="Load" path="/exception"/>
    public static Tokenizer Check(string path)
    {
        GivenPath.RequireModel(path);
        return Check(ModelSource.At(path));
    }

    /// <summary>Rows to token ids, within what the model takes.</summary>
    public RowEncoder Encoder(int maxTokens) => new(Tokenizer, Math.Min(maxTokens, Model.Config.MaxPositions), () => Chat);

    /// <summary>The adaptable layers of a model, from its configuration alone.</summary>
    /// <exception cref="BadInputException">The configuration is missing or not implemented.</exception>
    public static IReadOnlyList<LinearShape> LayersOf(string path)
    {
        GivenPath.RequireModel(path);
        return ModelRegistry.LayersOf(ModelConfig.Load(path));
    }

    public void Dispose() => Model.Dispose();

    private static Tokenizer Check(ModelSource model)
    {
        var tokenizer = Tokenizer.Load(model);
        var config = ModelRegistry.Check(model);
        _ = GenerationEndIds(model);
        return tokenizer.VocabularySize <= config.VocabularySize
            ? tokenizer
            : throw new BadInputException($"{model.Path}: the tokenizer has ids up to {tokenizer.VocabularySize - 1}, "
                + $"the model's vocabulary ends at {config.VocabularySize - 1}; they do not belong together");
    }

    internal static IReadOnlyList<int> GenerationEndIds(ModelSource model) => model.Has(Generation)
        ? ConfigReader.Read(model.Text(Generation), model.Called(Generation), static reader => reader.Integers("eos_token_id"))
        : [];
}

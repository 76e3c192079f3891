using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>A parameter that a model has.</summary>
/// <param name="Name">Its Hugging Face name.</param>
/// <param name="Shape">Its shape, outermost first.</param>
public sealed record ParameterShape(string Name, long[] Shape);

/// <summary>The model families, by <c>model_type</c>.</summary>
public static class ModelRegistry
{
    private static readonly Dictionary<string, ModelFamily> Families = new(StringComparer.Ordinal)
    {
        ["llama"] = Llama.Family,
        ["mistral"] = Mistral.Family,
        ["qwen2"] = Qwen2.Family,
        ["qwen3"] = Qwen3.Family,
        ["gemma"] = Gemma.Family,
        ["gpt2"] = Gpt2.Family,
        ["phi"] = Phi.Family,
        ["gpt_neox"] = GptNeoX.Family,
    };

    /// <summary>Every <c>model_type</c> that can be loaded.</summary>
    public static IReadOnlyCollection<string> ModelTypes => Families.Keys;

    /// <summary>
    /// Loads a model folder or a GGUF file as a frozen model; files stay mapped where their numbers need no conversion.
    /// </summary>
    /// <param name="model">The folder or file.</param>
    /// <param name="device">Where the model lives.</param>
    /// <param name="storage">How its matrices lie there.</param>
    /// <exception cref="BadInputException">Something in it is missing, wrong or not implemented; it is named.</exception>
    public static CausalLanguageModel Load(string model, Device device, WeightStorage storage = WeightStorage.AsStored) =>
        Load(ModelSource.At(model), device, storage);

    /// <summary>The same with every parameter in one type, which is computed with where it is float32 or float64.</summary>
    /// <inheritdoc cref="Load(string, Device, WeightStorage)" path="/exception"/>
    internal static CausalLanguageModel Load(string model, Device device, ScalarType dtype) => Load(
        ModelSource.At(model),
        (weights, name, shape, _) => new FloatMatrix(weights.Read(name, shape, device, dtype).DetachFromDisposeScope()), device, dtype);

    /// <summary>The same of a model that is open.</summary>
    /// <inheritdoc cref="Load(string, Device, WeightStorage)" path="/exception"/>
    internal static CausalLanguageModel Load(ModelSource model, Device device, WeightStorage storage) => Load(
        model, (weights, name, shape, kind) => FrozenMatrices.Read(weights, name, shape, device, storage, kind), device,
        ScalarType.Float32);

    /// <summary>Checks a model as <see cref="Load(string, Device, WeightStorage)"/> does, without reading a tensor.</summary>
    /// <inheritdoc cref="Load(string, Device, WeightStorage)" path="/exception"/>
    public static ModelConfig Check(string model) => Check(ModelSource.At(model));

    /// <summary>The same of a model that is open.</summary>
    /// <inheritdoc cref="Load(string, Device, WeightStorage)" path="/exception"/>
    internal static ModelConfig Check(ModelSource model)
    {
        var config = ModelConfig.Load(model);
        using var weights = model.OpenWeights();
        Check(weights, config, ExpectedParameters(config));
        return config;
    }

    /// <summary>The adaptable layers of a model, from its configuration alone.</summary>
    /// <exception cref="BadInputException">A size of the configuration is out of range, or the family is unknown.</exception>
    public static IReadOnlyList<LinearShape> LayersOf(ModelConfig config)
    {
        using var scope = NewDisposeScope();
        var shapes = ExpectedParameters(config).ToDictionary(static parameter => parameter.Name,
            static parameter => empty(parameter.Shape, device: META), StringComparer.Ordinal);
        return Families[config.ModelType].Create(config, FrozenParameters.OfTensors(shapes, static _ => false)).AdaptableLayers;
    }

    /// <summary>A model over parameters built in memory; the model owns them from here on.</summary>
    /// <exception cref="BadInputException">A size of the configuration is out of range, or the family is unknown.</exception>
    /// <exception cref="ArgumentException">A parameter is missing, unexpected, or has another shape.</exception>
    public static CausalLanguageModel Create(ModelConfig config, IReadOnlyDictionary<string, Tensor> parameters)
    {
        var expected = ExpectedParameters(config);
        foreach (var (name, shape) in expected)
        {
            if (!parameters.TryGetValue(name, out var parameter))
                throw new ArgumentException($"The parameter {name} is missing.", nameof(parameters));
            if (!parameter.shape.AsSpan().SequenceEqual(shape))
                throw new ArgumentException(
                    $"The parameter {name} has shape [{string.Join(", ", parameter.shape)}], expected [{string.Join(", ", shape)}].",
                    nameof(parameters));
        }

        var unexpected = parameters.Keys.Except(expected.Select(static parameter => parameter.Name), StringComparer.Ordinal)
            .FirstOrDefault();
        if (unexpected is not null)
            throw new ArgumentException($"The parameter {unexpected} does not belong to this model.", nameof(parameters));
        return Families[config.ModelType].Create(config, FrozenParameters.OfTensors(parameters, KindsOf(config).ContainsKey));
    }

    /// <summary>Every parameter that a model of this configuration has, in order of use.</summary>
    /// <exception cref="BadInputException">A size of the configuration is out of range, or the family is unknown.</exception>
    public static IReadOnlyList<ParameterShape> ExpectedParameters(ModelConfig config)
    {
        var family = FamilyOf(config.ModelType, nameof(ModelConfig));
        config.Validate(nameof(ModelConfig));
        try
        {
            return [.. family.Parameters(config)];
        }
        catch (OverflowException exception)
        {
            throw new BadInputException(
                $"{nameof(ModelConfig)}: {config.AttentionHeads} attention heads of width {config.HeadDim} do not fit any model",
                exception);
        }
    }

    /// <summary>Refuses an LM head that is stored beside the embedding it is said to be, and differs from it.</summary>
    /// <exception cref="BadInputException">The two are named.</exception>
    internal static void RefuseOtherHead(IModelWeights weights, ModelConfig config)
    {
        var stored = StoredNames(weights, config);
        var embedding = ExpectedParameters(config)[0]; // the first that is used
        if (!config.TieWordEmbeddings || !stored.TryGetValue(Families[config.ModelType].LmHead + ".weight", out var head)) return;
        using var scope = NewDisposeScope();
        Tensor Read(string name) => weights.Read(name, embedding.Shape, CPU, ScalarType.Float32);
        if (Read(head).eq(Read(stored[embedding.Name])).all().item<bool>()) return;
        throw new BadInputException(
            $"{weights.Path}: tie_word_embeddings is true, and tensor {BadInputException.Shown(head)} differs from "
            + $"{BadInputException.Shown(stored[embedding.Name])}; "
            + "set it to false in config.json where the head is its own, or save the model again");
    }

    internal static ModelFamily FamilyOf(string modelType, string name) => Families.TryGetValue(modelType, out var family)
        ? family
        : throw new BadInputException($"{name}: model_type is \"{BadInputException.Shown(modelType)}\", "
            + $"expected one of {string.Join(", ", Families.Keys.Order(StringComparer.Ordinal))}");

    private static CausalLanguageModel Load(
        ModelSource model, Func<IModelWeights, string, long[], LayerKind, FrozenMatrix> read, Device device, ScalarType dtype)
    {
        var config = ModelConfig.Load(model);
        using var weights = model.OpenWeights();
        var (expected, kinds) = (ExpectedParameters(config), KindsOf(config));
        var stored = Check(weights, config, expected); // everything, before the first byte is copied
        RefuseOtherHead(weights, config);
        var (tensors, matrices) = (new Dictionary<string, Tensor>(StringComparer.Ordinal),
            new Dictionary<string, FrozenMatrix>(StringComparer.Ordinal));
        try
        {
            foreach (var (name, shape) in expected)
            {
                if (kinds.TryGetValue(name, out var kind)) matrices.Add(name, read(weights, stored[name], shape, kind));
                else tensors.Add(name, weights.Read(stored[name], shape, device, dtype).DetachFromDisposeScope());
            }

            return Families[config.ModelType].Create(config, new(tensors, matrices, weights.TakePages()));
        }
        catch
        {
            foreach (var tensor in tensors.Values) tensor.Dispose();
            foreach (var matrix in matrices.Values) matrix.Dispose();
            throw;
        }
    }

    // Of the weights that adaptable layers multiply with; an LM head that is the embedding has none of its own.
    private static Dictionary<string, LayerKind> KindsOf(ModelConfig config) => LayersOf(config)
        .Where(layer => !(config.TieWordEmbeddings && layer.Kind == LayerKind.LmHead))
        .ToDictionary(static layer => layer.Module + ".weight", static layer => layer.Kind, StringComparer.Ordinal);

    private static Dictionary<string, string> Check(IModelWeights weights, ModelConfig config, IReadOnlyList<ParameterShape> expected)
    {
        var family = Families[config.ModelType];
        var stored = StoredNames(weights, family);
        foreach (var (name, shape) in expected) weights.Check(stored.GetValueOrDefault(name, name), shape);
        var unexpected = stored.Keys.Except(expected.Select(static parameter => parameter.Name), StringComparer.Ordinal)
            .FirstOrDefault(name => !family.IsDerived(config, name));
        return unexpected is null ? stored : throw new BadInputException($"{weights.Path}: "
            + $"tensor {BadInputException.Shown(stored[unexpected])} does not belong to a {config.ModelType} model of this config.json");
    }

    /// <summary>
    /// Stored names by the model's: some checkpoints were saved from the model without its LM head,
    /// and their names lack the first component.
    /// </summary>
    internal static IReadOnlyDictionary<string, string> StoredNames(IModelWeights weights, ModelConfig config) =>
        StoredNames(weights, Families[config.ModelType]);

    private static Dictionary<string, string> StoredNames(IModelWeights weights, ModelFamily family)
    {
        var isBare = !weights.Names.Any(name => name.StartsWith(family.Prefix, StringComparison.Ordinal));
        return weights.Names.ToDictionary(
            name => isBare && !name.StartsWith(family.LmHead + '.', StringComparison.Ordinal) ? family.Prefix + name : name,
            StringComparer.Ordinal);
    }
}

/// <summary>What the registry knows of a family.</summary>
internal sealed record ModelFamily
{
    /// <summary>First component of every name but the LM head's.</summary>
    public required string Prefix { get; init; }

    /// <summary>The LM head's module.</summary>
    public string LmHead { get; init; } = "lm_head";

    /// <summary>Ends of the names of stored tensors that are derived from others, such as masks and angles.</summary>
    public IReadOnlyList<string> Derived { get; init; } = [".rotary_emb.inv_freq"];

    /// <summary>Takes the family's keys from <c>config.json</c> and refuses values that it does not implement.</summary>
    public required Func<ConfigReader, ModelConfig> ReadConfig { get; init; }

    /// <summary>Adds the family's keys to those that all families share.</summary>
    public required Action<ModelConfig, JsonObject> WriteConfig { get; init; }

    /// <summary>Every parameter's name and shape.</summary>
    public required Func<ModelConfig, IEnumerable<ParameterShape>> Parameters { get; init; }

    /// <summary>The model over its parameters, already checked.</summary>
    public required Func<ModelConfig, FrozenParameters, CausalLanguageModel> Create { get; init; }

    /// <summary>A stored tensor that the model does not need; a tied LM head may be stored a second time.</summary>
    public bool IsDerived(ModelConfig config, string name) =>
        Derived.Any(end => name.EndsWith(end, StringComparison.Ordinal)) || config.TieWordEmbeddings && name == LmHead + ".weight";
}

using FedRLora.Abstractions;
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
    };

    /// <summary>Every <c>model_type</c> that can be loaded.</summary>
    public static IReadOnlyCollection<string> ModelTypes => Families.Keys;

    /// <summary>Loads a Hugging Face folder as a frozen model.</summary>
    /// <param name="folder">With <c>config.json</c> and safetensors weights.</param>
    /// <param name="device">Where the model lives.</param>
    /// <param name="dtype">Element type of parameters and arithmetic.</param>
    /// <exception cref="BadInputException">Something in the folder is missing, wrong or not implemented; it is named.</exception>
    public static CausalLanguageModel Load(string folder, Device device, ScalarType dtype)
    {
        var config = ModelConfig.Load(folder);
        using var weights = ModelWeights.Open(folder);
        var expected = ExpectedParameters(config);
        Check(weights, config, expected); // everything, before the first byte is copied
        var parameters = new Dictionary<string, Tensor>(expected.Count, StringComparer.Ordinal);
        try
        {
            foreach (var (name, shape) in expected) parameters.Add(name, weights.Read(name, shape, device, dtype).DetachFromDisposeScope());
            return Families[config.ModelType].Create(config, parameters);
        }
        catch
        {
            foreach (var parameter in parameters.Values) parameter.Dispose();
            throw;
        }
    }

    /// <summary>A model over parameters built in memory; the model owns them from here on.</summary>
    /// <exception cref="BadInputException">A size of the configuration is out of range, or the family is unknown.</exception>
    /// <exception cref="ArgumentException">A parameter is missing, unexpected, or has another shape.</exception>
    public static CausalLanguageModel Create(ModelConfig config, IReadOnlyDictionary<string, Tensor> parameters)
    {
        var expected = ExpectedParameters(config);
        foreach (var (name, shape) in expected)
        {
            if (!parameters.TryGetValue(name, out var parameter)) throw new ArgumentException($"The parameter {name} is missing.", nameof(parameters));
            if (!parameter.shape.AsSpan().SequenceEqual(shape))
                throw new ArgumentException($"The parameter {name} has shape [{string.Join(", ", parameter.shape)}], expected [{string.Join(", ", shape)}].", nameof(parameters));
        }

        var unexpected = parameters.Keys.Except(expected.Select(static parameter => parameter.Name), StringComparer.Ordinal).FirstOrDefault();
        if (unexpected is not null) throw new ArgumentException($"The parameter {unexpected} does not belong to this model.", nameof(parameters));
        return Families[config.ModelType].Create(config, parameters);
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
            throw new BadInputException($"{nameof(ModelConfig)}: {config.AttentionHeads} attention heads of width {config.HeadDim} do not fit any model", exception);
        }
    }

    internal static ModelFamily FamilyOf(string modelType, string name) => Families.TryGetValue(modelType, out var family)
        ? family
        : throw new BadInputException($"{name}: model_type is \"{modelType}\", expected one of {string.Join(", ", Families.Keys.Order(StringComparer.Ordinal))}");

    private static void Check(ModelWeights weights, ModelConfig config, IReadOnlyList<ParameterShape> expected)
    {
        foreach (var (name, shape) in expected) weights.Check(name, shape);
        var family = Families[config.ModelType];
        var known = expected.Select(static parameter => parameter.Name).ToHashSet(StringComparer.Ordinal);
        var unexpected = weights.Names.FirstOrDefault(name => !known.Contains(name) && !family.IsIgnored(config, name));
        if (unexpected is not null) throw new BadInputException($"{weights.Folder}: tensor {unexpected} does not belong to a {config.ModelType} model of this config.json");
    }
}

/// <summary>What the registry knows of a family.</summary>
/// <param name="ReadConfig">Takes the family's keys from <c>config.json</c> and refuses values that it does not implement.</param>
/// <param name="WriteConfig">The reverse.</param>
/// <param name="Parameters">Every parameter's name and shape.</param>
/// <param name="IsIgnored">A stored tensor that is derived from others.</param>
/// <param name="Create">The model over its parameters, already checked.</param>
internal sealed record ModelFamily(
    Func<ConfigReader, ModelConfig> ReadConfig,
    Func<ModelConfig, string> WriteConfig,
    Func<ModelConfig, IEnumerable<ParameterShape>> Parameters,
    Func<ModelConfig, string, bool> IsIgnored,
    Func<ModelConfig, IReadOnlyDictionary<string, Tensor>, CausalLanguageModel> Create);

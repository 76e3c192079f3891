using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>An adapter folder in PEFT's layout, in our terms.</summary>
internal sealed class PeftAdapter
{
    public const string TensorFile = "adapter_model.safetensors";

    private readonly PeftSettings _settings;
    private readonly HashSet<string> _embeddings;

    private PeftAdapter(string folder, string configJson, PeftSettings settings, AdapterState raw)
    {
        (Folder, ConfigJson, _settings) = (folder, configJson, settings);
        CheckTying(raw.Keys);
        var onEmbeddings = raw.Keys.Where(static name => name.Contains(".lora_embedding_A", StringComparison.Ordinal));
        _embeddings = [.. onEmbeddings.Select(name => Parse(name).Module)];
        var tensors = raw.Where(static entry => PeftNames.BaseParameter(entry.Key) is null)
            .Select(entry => (Name: Parse(entry.Key), entry.Value)).ToList();
        BaseTensors = new(raw.Where(static entry => PeftNames.BaseParameter(entry.Key) is not null));
        if (raw.FirstOrDefault(static entry => Array.Exists(entry.Value.Data, static value => !float.IsFinite(value))).Key is { } broken)
            throw new BadInputException(
                $"{PathOfTensors}: tensor {broken} has a value that is not finite; save the adapter again, or from an earlier checkpoint");
        List<string> adapters = [.. raw.Keys.Select(PeftNames.AdapterIn).OfType<string>().Distinct(StringComparer.Ordinal)];
        if (adapters.Count > 1)
            throw new BadInputException(
                $"{PathOfTensors}: holds several adapters, {string.Join(" and ", adapters.Take(2))}; save one of them alone");
        if (tensors.Count == 0) throw new BadInputException($"{PathOfTensors}: no tensor of an adapter");
        if (tensors.GroupBy(static entry => entry.Name).FirstOrDefault(static group => group.Count() > 1) is { } twice)
            throw new BadInputException($"{PathOfTensors}: {twice.Key.Module} has {twice.Key.Role} twice");
        Tensors = new AdapterState(tensors.Select(static entry => KeyValuePair.Create(
            AdapterTensor.NameOf(entry.Name.Module, entry.Name.Role),
            entry.Name.Role == Roles.B ? entry.Value with { Shape = [1, .. entry.Value.Shape] } : entry.Value)));
    }

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>adapter_config.json as it is.</summary>
    public string ConfigJson { get; }

    /// <summary>Of both files.</summary>
    public required string Sha256 { get; init; }

    /// <summary>The base that it was trained on; null where its files do not say.</summary>
    public AdapterBase? Base { get; private init; }

    /// <summary>One head routed by task, without dropout.</summary>
    public AdapterSpec Spec => _settings.Spec;

    /// <summary>What the folder names as its base model; null where it names none.</summary>
    public string? BaseModel => _settings.BaseModel;

    /// <summary>What whoever uses the adapter has to know, a line each.</summary>
    public IReadOnlyList<string> Notes => _settings.Notes;

    /// <summary>Named as <see cref="AdapterTensor.Name"/>; B is <c>[1, D_out, R]</c>.</summary>
    public AdapterState Tensors { get; }

    /// <summary>
    /// Parameters of the base model by PEFT's names: embedding and LM head, which PEFT saves beside an adapter that is on them, or beside
    /// any (<c>save_embedding_layers</c>), and biases where <c>bias</c> is not none.
    /// </summary>
    public AdapterState BaseTensors { get; }

    /// <summary>Reads a folder.</summary>
    /// <exception cref="BadInputException">A file is missing or not valid, or the adapter is more than LoRA or DoRA.</exception>
    public static PeftAdapter Read(string folder)
    {
        GivenPath.RequireAdapter(folder);
        var (configPath, tensorPath) = (Path.Combine(folder, PeftConfig.FileName), Path.Combine(folder, TensorFile));
        try
        {
            var config = File.ReadAllBytes(configPath);
            var text = Utf8Text.Check(config, configPath);
            var settings = PeftConfig.Parse(text, configPath);
            if (!File.Exists(tensorPath))
                throw new BadInputException($"{tensorPath}: not found; save the adapter with safe_serialization=True");
            using var stream = File.OpenRead(tensorPath);
            var digest = SHA256.HashData([.. SHA256.HashData(config), .. SHA256.HashData(stream)]);
            stream.Position = 0;
            var tensors = SafetensorsCodec.Read(stream, tensorPath);
            stream.Position = 0;
            var metadata = SafetensorsHeader.Parse(stream, stream.Length, tensorPath).Metadata;
            return new PeftAdapter(folder, Encoding.UTF8.GetString(text.Span), settings, tensors)
            {
                Sha256 = Convert.ToHexStringLower(digest), Base = AdapterBase.Of(metadata),
            };
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{configPath}: cannot be read: {exception.Message}", exception);
        }
    }

    /// <summary>Its layers where no model is at hand, shaped as its tensors are.</summary>
    /// <exception cref="BadInputException">Configuration and tensors do not go together.</exception>
    public IReadOnlyList<AdapterTarget> Targets => On(
        [.. Tensors.Keys.Where(static name => name.EndsWith(".A", StringComparison.Ordinal)).Select(name => LayerOf(name[..^2]))]).Targets;

    /// <summary>The layout on a model's layers.</summary>
    /// <param name="layers">All that can be adapted.</param>
    /// <param name="method">What trains, who owns it, its dropout; null for the folder's own values.</param>
    /// <param name="start">Where initial values come from.</param>
    /// <exception cref="BadInputException">Configuration, tensors and model do not go together.</exception>
    public AdapterLayout On(IReadOnlyList<LinearShape> layers, AdapterSpec? method = null, AdapterStart? start = null)
    {
        if (method is { Decomposed: true } && !Spec.Decomposed)
        {
            throw new BadInputException($"{PathOfConfig}: the adapter is plain LoRA, the method {method.Method} trains magnitudes; "
                + "start it with method lora or fedsa-lora");
        }

        AdapterLayout layout;
        try
        {
            layout = AdapterLayout.Unbounded(method is null ? Spec : ShapedLike(method), layers, start);
        }
        catch (BadInputException problem)
        {
            throw new BadInputException($"{PathOfConfig}: {problem.Message}", problem);
        }

        var expected = layout.Tensors.ToDictionary(static tensor => tensor.Name, StringComparer.Ordinal);
        foreach (var (name, tensor) in expected)
        {
            if (!Tensors.TryGetValue(name, out var found))
                throw new BadInputException($"{PathOfTensors}: tensor {PeftNames.Of(tensor.Target, tensor.Role.Name)} is missing, "
                    + $"{PeftConfig.FileName} asks for it");
            if (!found.Shape.SequenceEqual(tensor.Shape))
                throw new BadInputException($"{PathOfTensors}: "
                    + $"tensor {PeftNames.Of(tensor.Target, tensor.Role.Name)} has shape [{Shape(found, tensor.Role.Name)}], expected "
                    + $"[{Shape(new(tensor.Shape, []), tensor.Role.Name)}] of the model and {PeftConfig.FileName}");
        }

        if (!Spec.Decomposed && Tensors.Keys.FirstOrDefault(IsMagnitude) is { } magnitude)
            throw new BadInputException(
                $"{PathOfTensors}: {magnitude} is that of a decomposed weight, and use_dora is false in {PeftConfig.FileName}");
        if (Tensors.Keys.FirstOrDefault(name => !expected.ContainsKey(name)) is { } unknown)
            throw new BadInputException($"{PathOfTensors}: {unknown} is on no layer that the model has and {PeftConfig.FileName} chooses");
        return layout;
    }

    /// <summary>Refuses an embedding, an LM head or biases that are not the model's: PEFT would put them in the model's place.</summary>
    /// <exception cref="BadInputException">A value differs or is missing; the tensor is named.</exception>
    public void CheckBase(CausalLanguageModel model)
    {
        CheckBiases(model.Config);
        foreach (var name in BaseTensors.Keys)
        {
            using var scope = NewDisposeScope();
            var parameter = PeftNames.BaseParameter(name)!;
            var layer = model.AdaptableLayers.FirstOrDefault(layer => layer.Module + ".weight" == parameter);
            var own = layer is null ? model.Parameters.GetValueOrDefault(parameter) : model.WeightOf(layer);
            CheckBase(name, own is null ? null : TensorData.Values(own.to(ScalarType.Float32)), own?.dtype ?? ScalarType.Float32);
        }
    }

    /// <summary>The same for one tensor and the model's values in its place.</summary>
    /// <param name="name">PEFT's name of it.</param>
    /// <param name="own">The model's values; null where it has no such parameter.</param>
    /// <param name="held">The type that the model holds them in, to which the tensor is rounded too.</param>
    public void CheckBase(string name, float[]? own, ScalarType held = ScalarType.Float32)
    {
        var parameter = PeftNames.BaseParameter(name)!;
        if (own is null)
        {
            throw new BadInputException($"{PathOfTensors}: tensor {BadInputException.Shown(name)} "
                + "is a parameter that the model does not have");
        }

        if (own.AsSpan().SequenceEqual(Rounded(BaseTensors[name].Data, held))) return;
        var why = IsBias(parameter) && HasBiases
            ? $"bias is \"{_settings.Bias}\" in {PeftConfig.FileName}, and trained biases are not implemented: train with bias none"
            : "the adapter was trained on another model, with a resized vocabulary, or together with this tensor (modules_to_save)";
        throw new BadInputException($"{PathOfTensors}: tensor {name} differs from the model's {parameter}; {why}");
    }

    /// <summary>Refuses biases of the model that were trained and are not in the file: PEFT did not save all of them before 0.21.</summary>
    /// <exception cref="BadInputException">A bias is missing; it is named.</exception>
    public void CheckBiases(ModelConfig model)
    {
        if (!HasBiases) return;
        var saved = BaseTensors.Keys.Select(PeftNames.BaseParameter).ToHashSet(StringComparer.Ordinal);
        var trained = ModelRegistry.ExpectedParameters(model).Select(static parameter => parameter.Name).Where(IsBias)
            .Where(name => _settings.Bias == "all" || Tensors.ContainsKey(AdapterTensor.NameOf(name[..^".bias".Length], Roles.A)));
        if (trained.FirstOrDefault(name => !saved.Contains(name)) is { } missing)
            throw new BadInputException(
                $"{PathOfConfig}: bias is \"{_settings.Bias}\", and the trained {missing} is not in {TensorFile}; train with bias none");
    }

    /// <summary>Refuses trained biases where no model is at hand to tell them from its own.</summary>
    /// <exception cref="BadInputException">The adapter may have some.</exception>
    public void RefuseBiases()
    {
        // PEFT saves every bias of the model where all are trained, so a file without one is of a model without.
        if (!HasBiases || (_settings.Bias == "all" && !BaseTensors.Keys.Any(IsBias))) return;
        throw new BadInputException(
            $"{PathOfConfig}: bias is \"{_settings.Bias}\", and without the model it is not known whether biases were trained; "
            + "where the model has none, write bias none");
    }

    private static float[] Rounded(float[] values, ScalarType type)
    {
        if (type == ScalarType.Float32) return values;
        using var scope = NewDisposeScope();
        return TensorData.Values(tensor(values).to(type).to(ScalarType.Float32));
    }

    private bool HasBiases => _settings.Bias != "none";

    private static bool IsBias(string parameter) => parameter.EndsWith(".bias", StringComparison.Ordinal);

    private static bool IsMagnitude(string tensor) => tensor.EndsWith(AdapterTensor.NameOf("", Roles.Magnitude), StringComparison.Ordinal);

    // The option puts an adapter on the LM head where one is on the embedding, and the other way round.
    private void CheckTying(IEnumerable<string> tensors)
    {
        if (_settings.TiesWeights && tensors.FirstOrDefault(PeftNames.AdaptsEmbeddingOrHead) is { } tied)
            throw new BadInputException(
                $"{PathOfConfig}: {PeftOptions.EnsureWeightTying} is true and {BadInputException.Shown(tied)} "
                + "is on the embedding or the LM head; a shared adapter of both is not implemented: "
                + "train without that option, or without these modules");
    }

    private LinearShape LayerOf(string module)
    {
        if (!Tensors.TryGetValue(AdapterTensor.NameOf(module, Roles.B), out var b) || b.Shape.Count != 3)
            throw new BadInputException($"{PathOfTensors}: {module} has A without a matrix B");
        var kind = _embeddings.Contains(module) ? LayerKind.Embedding : _settings.IsConv1D ? LayerKind.Conv1D : LayerKind.Linear;
        return new(module, checked((int)Tensors[AdapterTensor.NameOf(module, Roles.A)].Shape[^1]), checked((int)b.Shape[1]), kind);
    }

    private string PathOfConfig => Path.Combine(Folder, PeftConfig.FileName);

    private string PathOfTensors => Path.Combine(Folder, TensorFile);

    private AdapterSpec ShapedLike(AdapterSpec method) => method with
    {
        Rank = Spec.Rank, Alpha = Spec.Alpha, Scaling = Spec.Scaling, TargetModules = Spec.TargetModules,
        TargetPattern = Spec.TargetPattern, ExcludeModules = Spec.ExcludeModules, ExcludePattern = Spec.ExcludePattern,
        LayersToTransform = Spec.LayersToTransform,
        LayersPattern = Spec.LayersPattern,
        RankPattern = Spec.RankPattern, AlphaPattern = Spec.AlphaPattern, Decomposed = Spec.Decomposed,
    };

    private (string Module, string Role) Parse(string name) =>
        PeftNames.Parse(name) ?? throw new BadInputException(
            $"{PathOfTensors}: tensor {BadInputException.Shown(name)} is no part of LoRA or DoRA"
            + $"{(PeftOptions.Behind(name) is { } option ? $" but of {option}" : "")}; only those are implemented");

    private static string Shape(NamedArray array, string role) => string.Join(", ", role == Roles.B ? array.Shape.Skip(1) : array.Shape);
}

using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Gguf;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// A model folder with an adapter added to its weights: W0 + dW in float32, rounded once to the type that the folder stores. One
/// tensor at a time is in memory; configuration and tokenizer are copied.
/// </summary>
public sealed class MergedModel
{
    // Configuration, tokenizer and chat template; weights and notes about the old model stay behind.
    private static readonly string[] Copied = [".json", ".txt", ".model", ".jinja", ".tiktoken"];

    private static readonly string[] Weights = [".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx"];

    private readonly string _folder;
    private readonly ModelConfig _config;
    private readonly PeftAdapter _adapter;
    private readonly AdapterLayout _layout;
    private readonly Dictionary<string, AdapterTarget> _targets;
    private readonly IReadOnlyList<LinearShape> _layers;

    private MergedModel(string folder, ModelConfig config, PeftAdapter adapter)
    {
        (_folder, _config, _adapter) = (folder, config, adapter);
        _layers = FrozenBase.LayersOf(folder);
        _layout = adapter.On(_layers);
        _targets = _layout.Targets.ToDictionary(static target => target.Module + ".weight", StringComparer.Ordinal);
    }

    /// <summary>Writes the merged model; the folder is there whole, or not at all.</summary>
    /// <remarks>
    /// Of a GGUF file, and with a storage that rounds, what is merged into is what the adapter was computed beside: the widened numbers, in
    /// float32. They are written beside the target first, which takes the model's room twice for a while.
    /// </remarks>
    /// <param name="model">A Hugging Face folder or a GGUF file.</param>
    /// <param name="adapter">A folder in PEFT's layout.</param>
    /// <param name="target">A folder that does not exist yet.</param>
    /// <param name="options">How the model is taken; null for as it is stored, and no other than the adapter's own.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    /// <returns>How many weights the adapter changed, and what is to be known of the adapter and its base, a line each.</returns>
    /// <exception cref="BadInputException">A folder is not usable, or model and adapter do not go together.</exception>
    public static (int Changed, IReadOnlyList<string> Notes) Write(
        string model, string adapter, string target, BaseOptions? options = null, CancellationToken cancellationToken = default)
    {
        if (Directory.Exists(target) || File.Exists(target))
            throw new BadInputException($"{target}: exists already; give the name of a new folder");
        if (target.EndsWith(GgufFile.Extension, StringComparison.OrdinalIgnoreCase))
            throw new BadInputException($"{target}: would be a folder; merge into a folder, and convert that to a file");
        GivenPath.RequireModel(model);
        options ??= new();
        var read = PeftAdapter.Read(adapter);
        var config = ModelRegistry.Check(model);
        using var loaded = new LoadedModel(model, options.Storage);
        var notes = AdapterBase.Check(read, model, options, () => loaded.Model);
        var beside = $"{Path.TrimEndingDirectorySeparator(Path.GetFullPath(target))}.{Path.GetRandomFileName()}"; // a name that nobody has
        var (partial, widened) = (beside, beside + ".base");
        try
        {
            var isAsItIs = Directory.Exists(model) && options.Storage is WeightStorage.AsStored or WeightStorage.Float32;
            if (!isAsItIs) WidenedFolder.Write(model, loaded.Model, widened, FilesToCopy, cancellationToken);
            var merged = new MergedModel(isAsItIs ? model : widened, config, read);
            Directory.CreateDirectory(partial);
            merged.WriteTo(partial, cancellationToken);
            Directory.Move(partial, target);
            return (merged._targets.Count, [.. merged._adapter.Notes, .. notes]);
        }
        catch (Exception exception)
        {
            if (Directory.Exists(partial)) Directory.Delete(partial, recursive: true);
            if (exception is IOException or UnauthorizedAccessException)
                throw new BadInputException($"{target}: cannot be written: {exception.Message}", exception);
            throw;
        }
        finally
        {
            if (Directory.Exists(widened)) Directory.Delete(widened, recursive: true);
        }
    }

    private string EmbeddingName => NameOf(LayerKind.Embedding);

    private string LmHeadName => NameOf(LayerKind.LmHead);

    // An embedding and an LM head that were one tensor are two as soon as an adapter is on either.
    private bool Unties =>
        _config.TieWordEmbeddings && _targets.Values.Any(static target => target.Layer.Kind is LayerKind.Embedding or LayerKind.LmHead);

    private void WriteTo(string target, CancellationToken cancellationToken)
    {
        foreach (var path in FilesToCopy(_folder).ToList())
        {
            var copy = Path.Combine(target, Path.GetRelativePath(_folder, path));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(path, copy);
        }

        if (Unties) Untie(Path.Combine(target, "config.json"));

        using var weights = ModelWeights.Open(_folder);
        var stored = ModelRegistry.StoredNames(weights, _config);
        ModelRegistry.RefuseOtherHead(weights, _config);
        foreach (var parameter in ModelRegistry.ExpectedParameters(_config)) weights.CheckFinite(stored[parameter.Name]);
        CheckBase(weights, stored);
        var nameOf = stored.ToDictionary(static entry => entry.Value, static entry => entry.Key, StringComparer.Ordinal);
        var fileOf = new JsonObject();
        foreach (var file in weights.Files)
        {
            var arrays = ArraysOf(file, nameOf, cancellationToken);
            var name = Path.GetFileName(file.Path);
            using var stream = File.Create(Path.Combine(target, name));
            SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, stream);
            foreach (var (tensor, _) in arrays) fileOf[tensor] = name;
        }

        if (weights.IsSharded)
            File.WriteAllText(Path.Combine(target, ModelWeights.IndexFile),
                new JsonObject { ["metadata"] = new JsonObject(), ["weight_map"] = fileOf }.ToJsonString(new() { WriteIndented = true }));
    }

    // Of sub-folders too, such as additional_chat_templates; not of those that hold weights, which are models and adapters of their own.
    private static IEnumerable<string> FilesToCopy(string folder)
    {
        var own = Directory.EnumerateFiles(folder)
            .Where(static path => Copied.Contains(Path.GetExtension(path)) && !path.EndsWith(".index.json", StringComparison.Ordinal));
        var below = new DirectoryInfo(folder).EnumerateDirectories()
            .Where(static child => !child.Name.StartsWith('.') && child.LinkTarget is null)
            .Where(static child => !child.EnumerateFiles().Any(static file => Weights.Contains(file.Extension)));
        return own.Concat(below.SelectMany(static child => FilesToCopy(child.FullName)));
    }

    private List<KeyValuePair<string, SafetensorsArray>> ArraysOf(
        SafetensorsFile file, Dictionary<string, string> nameOf, CancellationToken cancellationToken)
    {
        var kept = file.Header.Tensors.Keys.Where(stored => !(Unties && nameOf[stored] == LmHeadName));
        var arrays = kept.Select(stored => KeyValuePair.Create(stored, ArrayOf(file, stored, nameOf[stored], cancellationToken))).ToList();
        if (Unties && file.Header.Tensors.Keys.FirstOrDefault(stored => nameOf[stored] == EmbeddingName) is { } embedding)
            arrays.Add(new(LmHeadName, ArrayOf(file, embedding, LmHeadName, cancellationToken)));
        return arrays;
    }

    // A stored tensor as the parameter of a name.
    private SafetensorsArray ArrayOf(SafetensorsFile file, string stored, string name, CancellationToken cancellationToken)
    {
        var (dtype, shape) = (file.Describe(stored).Dtype, file.Describe(stored).Shape);
        return SafetensorsArray.Streamed(dtype, shape, stream =>
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (!_targets.TryGetValue(name, out var adapted))
            {
                Copy(file, stored, stream);
                return;
            }

            using var scope = NewDisposeScope();
            using var inference = no_grad();
            var merged = Merged(adapted, tensor(file.ReadFloat32(stored), [.. shape]));
            var rounded = merged.to(ModelWeights.DtypeOf(dtype)!.Value);
            ModelWeights.RefuseNotFinite($"{file.Path} with the adapter", stored, merged, rounded);
            WriteBytes(rounded, stream);
        });
    }

    /// <summary>W0 + dW, stored as the layer's kind says, in float32.</summary>
    private Tensor Merged(AdapterTarget target, Tensor weight)
    {
        var (method, adapter) = (_layout.MethodOf(target), _adapter.Tensors);
        var tensors = new LayerTensors(
            role => TensorData.OnDevice(adapter[AdapterTensor.NameOf(target.Module, role)], CPU).unsqueeze(0), static _ => null);
        var rows = new FrozenLinear(target.Layer, weight, bias: null).Rows(ScalarType.Float32)
            .Plus(Bottleneck.Delta(method, tensors, target.Scaling)[0]);
        if (method.HasColumns) rows *= method.Columns(tensors, Decomposed.Norms(rows))[0].unsqueeze(1);
        return target.Layer.Kind is LayerKind.Linear or LayerKind.LmHead ? rows : rows.t();
    }

    // As for a model in memory, without one.
    private void CheckBase(ModelWeights weights, IReadOnlyDictionary<string, string> storedOf)
    {
        _adapter.CheckBiases(_config);
        foreach (var name in _adapter.BaseTensors.Keys)
        {
            var parameter = PeftNames.BaseParameter(name)!;
            var stored = storedOf.GetValueOrDefault(_config.TieWordEmbeddings && parameter == LmHeadName ? EmbeddingName : parameter);
            _adapter.CheckBase(name,
                stored is null ? null : weights.Files.First(file => file.Header.Tensors.ContainsKey(stored)).ReadFloat32(stored));
        }
    }

    private string NameOf(LayerKind kind) => _layers.First(layer => layer.Kind == kind).Module + ".weight";

    private static void Untie(string path)
    {
        var config = JsonNode.Parse(Utf8Text.Read(path))!.AsObject();
        config["tie_word_embeddings"] = false;
        File.WriteAllText(path, config.ToJsonString(new() { WriteIndented = true }));
    }

    private static unsafe void Copy(SafetensorsFile file, string name, Stream stream)
    {
        const int Block = 1 << 26;
        var size = file.Describe(name).SizeBytes;
        var source = file.PointerTo(name);
        for (var start = 0L; start < size; start += Block)
            stream.Write(new ReadOnlySpan<byte>(source + start, (int)Math.Min(Block, size - start)));
    }

    private static void WriteBytes(Tensor tensor, Stream stream)
    {
        const long Block = 1 << 26;
        using var flat = tensor.contiguous().reshape(-1);
        for (var start = 0L; start < flat.shape[0]; start += Block)
        {
            using var part = flat.narrow(0, start, Math.Min(Block, flat.shape[0] - start));
            stream.Write(part.bytes);
        }
    }
}

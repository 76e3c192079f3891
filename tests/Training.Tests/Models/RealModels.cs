using System.Collections.Concurrent;
using System.Text.Json;
using FedRLora.Training.Conversion;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// Real models in GGUF files with their references, <c>models/*/reference</c>: each is loaded once for all tests, on the blocks of its
/// file, and once from the folder that it is converted to.
/// </summary>
[CollectionDefinition(nameof(RealModels))]
public sealed class RealModels : ICollectionFixture<RealModels>, IDisposable
{
    private readonly ConcurrentDictionary<(string Name, bool IsConverted), Lazy<FrozenBase>> _loaded = new();
    private readonly TemporaryFolder _folders = new();

    /// <summary>Names of the folders.</summary>
    public static TheoryData<string> Names =>
        [.. SharedFolder.FoldersOf("models").Where(static name => FileOf(name) is not null && Has(name, "tensors.json"))];

    /// <summary>Each as it is and converted.</summary>
    public static TheoryData<string, bool> Both
    {
        get
        {
            var both = new TheoryData<string, bool>();
            foreach (var name in Names.Cast<object[]>().Select(static row => (string)row[0]))
                foreach (var isConverted in (bool[])[false, true]) both.Add(name, isConverted);
            return both;
        }
    }

    /// <summary>The adapters of each.</summary>
    public static TheoryData<string, string, bool> Adapters
    {
        get
        {
            var adapters = new TheoryData<string, string, bool>();
            foreach (var row in Both.Cast<object[]>())
            {
                var name = (string)row[0];
                var folders = SharedFolder.FoldersOf("models", name, "reference");
                foreach (var adapter in folders.Where(folder => Has(name, folder, "adapter_config.json")))
                    adapters.Add(name, adapter, (bool)row[1]);
            }

            return adapters;
        }
    }

    /// <summary>A model's file; null where it has none.</summary>
    public static string? FileOf(string name) =>
        Directory.GetFiles(SharedFolder.Of("models", name), "*.gguf").Order(StringComparer.Ordinal).FirstOrDefault();

    /// <summary>A file of a model's reference.</summary>
    public static string Of(string name, params ReadOnlySpan<string> parts) => SharedFolder.Of(["models", name, "reference", .. parts]);

    /// <summary>A document of a model's reference.</summary>
    public static JsonElement Json(string name, params ReadOnlySpan<string> parts) =>
        JsonDocument.Parse(File.ReadAllText(Of(name, parts))).RootElement;

    /// <summary>Whether a model's reference has a file.</summary>
    public static bool Has(string name, params ReadOnlySpan<string> parts) => File.Exists(Of(name, parts));

    /// <summary>The model with its tokenizer.</summary>
    internal FrozenBase Base(string name, bool isConverted = false) => _loaded.GetOrAdd(
        (name, isConverted), key => new(() => FrozenBase.Load(isConverted ? Converted(key.Name) : FileOf(key.Name)!, CPU))).Value;

    /// <summary>The model.</summary>
    internal CausalLanguageModel Model(string name, bool isConverted = false) => Base(name, isConverted).Model;

    public void Dispose()
    {
        foreach (var loaded in _loaded.Values) loaded.Value.Dispose();
        _folders.Dispose();
    }

    private string Converted(string name)
    {
        GgufToFolder.Write(FileOf(name)!, _folders.File(name), WeightType.F32);
        return _folders.File(name);
    }
}

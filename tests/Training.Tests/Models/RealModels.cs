using System.Collections.Concurrent;
using System.Text.Json;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// Real models in GGUF files with their references, <c>models/*/reference</c>: each is loaded once, as stored, for all tests.
/// </summary>
public sealed class RealModels : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<FrozenBase>> _loaded = new(StringComparer.Ordinal);

    /// <summary>Names of the folders.</summary>
    public static TheoryData<string> Names =>
        [.. SharedFolder.FoldersOf("models").Where(static name => FileOf(name) is not null && Has(name, "tensors.json"))];

    /// <summary>The adapters of each.</summary>
    public static TheoryData<string, string> Adapters
    {
        get
        {
            var adapters = new TheoryData<string, string>();
            foreach (var name in Names.Cast<object[]>().Select(static row => (string)row[0]))
            {
                var folders = SharedFolder.FoldersOf("models", name, "reference");
                foreach (var adapter in folders.Where(folder => Has(name, folder, "adapter_config.json"))) adapters.Add(name, adapter);
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

    /// <summary>The model with its tokenizer, on the blocks of its file.</summary>
    internal FrozenBase Base(string name) => _loaded.GetOrAdd(name, static name => new(() => FrozenBase.Load(FileOf(name)!, CPU))).Value;

    /// <summary>The model, on the blocks of its file.</summary>
    internal CausalLanguageModel Model(string name) => Base(name).Model;

    public void Dispose()
    {
        foreach (var loaded in _loaded.Values) loaded.Value.Dispose();
    }
}

using FedRLora.Abstractions;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests;

/// <summary>Folders under <c>fixtures/</c> that hold a model, and the adapter folders inside them, relative to the shared folder.</summary>
public static class Fixtures
{
    public static IReadOnlyList<string> Models => [.. SharedFolder.FoldersOf("fixtures")
        .Where(static name => File.Exists(SharedFolder.Of("fixtures", name, "config.json"))).Select(static name => "fixtures/" + name)];

    public static IReadOnlyList<string> Adapters => [.. Models.SelectMany(static model => SharedFolder.FoldersOf(model)
        .Where(name => File.Exists(SharedFolder.Of(model, name, "adapter_config.json"))).Select(name => $"{model}/{name}"))];

    public static bool IsModelImplemented(string folder)
    {
        try
        {
            ModelConfig.Load(SharedFolder.Of(folder));
            return true;
        }
        catch (BadInputException)
        {
            return false;
        }
    }

    /// <summary>Plain LoRA on linear layers of a model that runs.</summary>
    public static bool IsAdapterImplemented(string folder)
    {
        var model = Path.GetDirectoryName(folder)!;
        if (!IsModelImplemented(model)) return false;
        try
        {
            _ = PeftAdapter.Read(SharedFolder.Of(folder)).On(FrozenBase.LayersOf(SharedFolder.Of(model)));
            return true;
        }
        catch (BadInputException)
        {
            return false;
        }
    }
}

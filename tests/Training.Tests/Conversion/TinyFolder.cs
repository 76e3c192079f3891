using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>Model folders with drawn weights.</summary>
internal static class TinyFolder
{
    /// <summary>Writes one.</summary>
    public static string Write(string folder, ModelConfig config, Action<Dictionary<string, NamedArray>>? change = null)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJson());
        var arrays = TinyLlama.Arrays(config).ToDictionary(StringComparer.Ordinal);
        change?.Invoke(arrays);
        using var stream = File.Create(Path.Combine(folder, "model.safetensors"));
        SafetensorsWriter.Write(arrays.Select(static entry => KeyValuePair.Create(entry.Key, SafetensorsArray.Of(entry.Value))),
            new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return folder;
    }

    /// <summary>Every tensor of a folder.</summary>
    public static IReadOnlyDictionary<string, float[]> Values(string folder)
    {
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        return file.Header.Tensors.Keys.ToDictionary(static name => name, file.ReadFloat32);
    }
}

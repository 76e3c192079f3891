using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Client.Local;

/// <summary>Writes adapters in PEFT's layout.</summary>
internal static class AdapterFolder
{
    private static readonly Dictionary<string, string> Metadata = new() { ["format"] = "pt" };

    /// <summary>Writes both files, in place of those that are there.</summary>
    /// <exception cref="BadInputException">The folder cannot be written.</exception>
    public static async Task WriteAsync(string folder, ExportedAdapter adapter, CancellationToken cancellationToken)
    {
        try
        {
            Directory.CreateDirectory(folder);
            await using (var tensors = File.Create(Path.Combine(folder, "adapter_model.safetensors"))) SafetensorsCodec.Write(adapter.Tensors, Metadata, tensors);
            await File.WriteAllTextAsync(Path.Combine(folder, "adapter_config.json"), adapter.ConfigJson, cancellationToken);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"{folder}: cannot be written: {e.Message}", e);
        }
    }
}

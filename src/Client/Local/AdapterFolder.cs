using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Client.RunFolder;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>Writes adapters in PEFT's layout.</summary>
internal static class AdapterFolder
{
    private static readonly Dictionary<string, string> Metadata = new() { ["format"] = "pt" };

    /// <summary>Writes both files, in place of those that are there.</summary>
    /// <param name="folder">The folder; made where it is not there.</param>
    /// <param name="adapter">What is written.</param>
    /// <param name="mode">Who may read it; null, for what is handed on: whoever may read what this user makes.</param>
    /// <exception cref="BadInputException">The folder cannot be written.</exception>
    public static void Write(string folder, ExportedAdapter adapter, StoreMode? mode = null)
    {
        try
        {
            if (mode is { } known) StorePermissions.MakeFolders(Path.GetFullPath(folder), known);
            else Directory.CreateDirectory(folder);
            OutputFile.Replace(Path.Combine(folder, "adapter_model.safetensors"), mode,
                stream => SafetensorsCodec.Write(adapter.Tensors, Metadata, stream));
            OutputFile.Replace(Path.Combine(folder, "adapter_config.json"), mode, adapter.ConfigJson);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"{folder}: cannot be written: {e.Message}", e);
        }
    }
}

using System.Text;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Grains.Exports;

/// <summary>A file of an exported adapter.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Write">Writes its content, on the caller's thread.</param>
public sealed record ExportedFile(string Name, Action<Stream> Write);

/// <summary>The layout of an exported adapter: the two files that PEFT loads, by name and content.</summary>
public static class ExportedFiles
{
    private static readonly KeyValuePair<string, string> Format = new("format", "pt"); // without it transformers refuses a file

    /// <summary>The files, in the order in which they are written.</summary>
    public static IReadOnlyList<ExportedFile> Of(ExportedAdapter adapter) =>
    [
        new("adapter_model.safetensors", stream => SafetensorsCodec.Write(
            adapter.Tensors, adapter.Metadata.Prepend(Format).ToDictionary(StringComparer.Ordinal), stream)),
        new("adapter_config.json", stream => stream.Write(Encoding.UTF8.GetBytes(adapter.ConfigJson))),
    ];
}

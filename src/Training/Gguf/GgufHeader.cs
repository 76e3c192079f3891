using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>What stands before the tensors' data: metadata and where each tensor lies.</summary>
/// <param name="Version">2 or 3.</param>
/// <param name="Metadata">What the file says of itself.</param>
/// <param name="Tensors">Every tensor, in the file's order.</param>
/// <remarks>Format: <c>docs/gguf.md</c> of github.com/ggml-org/ggml, versions 2 and 3, little-endian.</remarks>
internal sealed record GgufHeader(uint Version, GgufMetadata Metadata, IReadOnlyDictionary<string, GgufTensor> Tensors)
{
    public const uint Magic = 0x46554747; // "GGUF"
    public const int DefaultAlignment = 32;
    public const string AlignmentKey = "general.alignment";

    /// <summary>Reads the header and checks that every tensor lies in the file.</summary>
    /// <param name="stream">At the file's start.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="BadInputException">Not a GGUF file, or one that says what cannot be; the key or tensor is named.</exception>
    public static GgufHeader Read(Stream stream, string path) => GgufHeaderReader.Read(stream, path);

    /// <summary>A place rounded up.</summary>
    public static long Aligned(long place, int alignment) => (place + alignment - 1) / alignment * alignment;
}

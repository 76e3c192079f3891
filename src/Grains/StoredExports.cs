using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>
/// Exported adapters in a site's store: the two files that PEFT loads, and <c>digests.json</c>, sealed, which PEFT ignores. It goes
/// before the files change and comes back after them, so that it never names what a crash has half replaced.
/// </summary>
internal static class StoredExports
{
    public const string DigestsFile = "digests.json";
    private const string TensorsFile = "adapter_model.safetensors";
    private const string ConfigFile = "adapter_config.json";
    private static readonly Dictionary<string, string> PeftMetadata = new() { ["format"] = "pt" };

    public static async Task WriteExportAsync(this IBlobStore store, string prefix, ExportedAdapter adapter, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(prefix + DigestsFile, cancellationToken);
        var tensors = await store.WriteStateAsync(prefix + TensorsFile, adapter.Tensors, PeftMetadata, cancellationToken);
        var config = await store.WriteBytesAsync(prefix + ConfigFile, System.Text.Encoding.UTF8.GetBytes(adapter.ConfigJson), WriteCondition.Any, cancellationToken);
        var digests = new ExportDigests(new SortedDictionary<string, BlobDigest>(StringComparer.Ordinal) { [TensorsFile] = tensors.Digest(), [ConfigFile] = config.Ref.Digest() });
        await store.WriteBytesAsync(prefix + DigestsFile, SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(digests, ExportJson.Default.ExportDigests)), WriteCondition.Any, cancellationToken);
    }

    /// <summary>The digests that an intact <c>digests.json</c> names, by file.</summary>
    public static IReadOnlyDictionary<string, BlobDigest> Read(byte[] bytes, string key) =>
        JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), ExportJson.Default.ExportDigests)?.Files ?? throw new CorruptBlobException($"{key} names no file.");
}

/// <summary>What <c>digests.json</c> holds.</summary>
/// <param name="Files">Digest and size by file name.</param>
internal sealed record ExportDigests(SortedDictionary<string, BlobDigest> Files);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n")]
[JsonSerializable(typeof(ExportDigests))]
internal sealed partial class ExportJson : JsonSerializerContext;

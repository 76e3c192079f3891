using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Exports;

/// <summary>
/// Exported adapters in a site's store: beside the files that PEFT loads <c>digests.json</c>, sealed, which PEFT ignores. It goes before
/// the files change and comes back after them, so that it never names what a crash has half replaced.
/// </summary>
/// <param name="store">The site's store.</param>
/// <param name="job">The job.</param>
/// <param name="site">The site.</param>
internal sealed class StoredExports(IBlobStore store, string job, string site) : IExportTarget
{
    public const string DigestsFile = "digests.json";

    public async Task<string> WriteAsync(string client, ExportedAdapter adapter, CancellationToken cancellationToken)
    {
        var prefix = Keys.Export(job, site, client);
        await store.DeleteAsync(prefix + DigestsFile, cancellationToken);
        var digests = new SortedDictionary<string, BlobDigest>(StringComparer.Ordinal);
        foreach (var file in ExportedFiles.Of(adapter))
        {
            var written = await store.WriteAsync(
                prefix + file.Name, (stream, token) => Task.Run(() => file.Write(stream), token), WriteCondition.Any, cancellationToken);
            digests.Add(file.Name, written.Ref.Digest());
        }

        var document = SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(new ExportDigests(digests), ExportJson.Default.ExportDigests));
        await store.WriteBytesAsync(prefix + DigestsFile, document, WriteCondition.Any, cancellationToken);
        return prefix;
    }

    /// <summary>The digests that an intact <c>digests.json</c> names, by file.</summary>
    public static IReadOnlyDictionary<string, BlobDigest> Read(byte[] bytes, string key) =>
        JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), ExportJson.Default.ExportDigests)?.Files
        ?? throw new CorruptBlobException($"{key} names no file.");
}

/// <summary>What <c>digests.json</c> holds.</summary>
/// <param name="Files">Digest and size by file name.</param>
internal sealed record ExportDigests(SortedDictionary<string, BlobDigest> Files);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n")]
[JsonSerializable(typeof(ExportDigests))]
internal sealed partial class ExportJson : JsonSerializerContext;

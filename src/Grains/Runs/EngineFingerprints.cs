using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>fingerprint.json, sealed.</summary>
internal static class EngineFingerprints
{
    public static byte[] Write(EngineFingerprint fingerprint) =>
        SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(fingerprint, FingerprintJson.Default.EngineFingerprint));

    /// <exception cref="CorruptBlobException">It was changed, or is of another version.</exception>
    public static EngineFingerprint? Read(byte[]? bytes, string key)
    {
        if (bytes is null) return null;
        var document = BlobStates.RequireSealed(bytes, key);
        return Parse(document) ?? throw new CorruptBlobException($"{key} is no fingerprint of this version; {WayOut.Of(key)}.");
    }

    public static bool IsReadable(byte[] bytes) => SealedJson.Check(bytes) is null && Parse(bytes) is not null;

    private static EngineFingerprint? Parse(byte[] document)
    {
        try
        {
            var engine = JsonSerializer.Deserialize(document, FingerprintJson.Default.EngineFingerprint);
            return engine is { Library: not null, Kernels: not null } ? engine : null;
        }
        catch (JsonException)
        {
            return null; // said by the caller
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n")]
[JsonSerializable(typeof(EngineFingerprint))]
internal sealed partial class FingerprintJson : JsonSerializerContext;

using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>fingerprint.json, sealed.</summary>
internal static class EngineFingerprints
{
    public static byte[] Write(EngineFingerprint fingerprint) =>
        SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(fingerprint, FingerprintJson.Default.EngineFingerprint));

    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static EngineFingerprint? Read(byte[]? bytes, string key) =>
        bytes is null ? null : JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), FingerprintJson.Default.EngineFingerprint);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n")]
[JsonSerializable(typeof(EngineFingerprint))]
internal sealed partial class FingerprintJson : JsonSerializerContext;

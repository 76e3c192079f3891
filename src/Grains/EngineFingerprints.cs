using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>fingerprint.json.</summary>
internal static class EngineFingerprints
{
    public static byte[] Write(EngineFingerprint fingerprint) => JsonSerializer.SerializeToUtf8Bytes(fingerprint, FingerprintJson.Default.EngineFingerprint);

    public static EngineFingerprint? Read(byte[]? bytes) => bytes is null ? null : JsonSerializer.Deserialize(bytes, FingerprintJson.Default.EngineFingerprint);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(EngineFingerprint))]
internal sealed partial class FingerprintJson : JsonSerializerContext;

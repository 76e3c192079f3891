namespace FedRLora.Abstractions.Messages;

/// <summary>A blob by name and content.</summary>
/// <param name="Key">Its key in the store.</param>
/// <param name="Sha256">Lower-case hexadecimal SHA-256 of its content.</param>
/// <param name="SizeBytes">Its length.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.blob-ref")]
public sealed record BlobRef([property: Id(0)] string Key, [property: Id(1)] string Sha256, [property: Id(2)] long SizeBytes);

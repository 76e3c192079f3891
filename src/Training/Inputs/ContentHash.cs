using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace FedRLora.Training.Inputs;

/// <summary>A SHA-256 over values in turn. Each says how long it is, so that no two lists of values are one.</summary>
internal sealed class ContentHash : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public ContentHash Add(long value) => AddBytes(MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in value)));

    /// <summary>A text by its UTF-16 units; null differs from an empty one.</summary>
    public ContentHash Add(string? text) => text is null ? Add(-1) : AddAll<char>(text);

    public ContentHash AddAll<T>(ReadOnlySpan<T> values) where T : unmanaged => Add(values.Length).AddBytes(MemoryMarshal.AsBytes(values));

    /// <summary>Lower-case hexadecimal digits of all so far.</summary>
    public string Digest() => Convert.ToHexStringLower(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();

    private ContentHash AddBytes(ReadOnlySpan<byte> bytes)
    {
        _hash.AppendData(bytes);
        return this;
    }
}

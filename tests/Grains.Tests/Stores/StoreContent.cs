using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>Short ways to write and read blobs in tests.</summary>
internal static class StoreContent
{
    public static Task<WrittenBlob> WriteAsync(this IBlobStore store, string key, string text, WriteCondition condition) =>
        store.WriteAsync(key, Text(text), condition);

    public static Task<WrittenBlob> WriteAsync(
        this IBlobStore store, string key, byte[] bytes, WriteCondition? condition = null, CancellationToken cancellationToken = default) =>
        store.WriteAsync(key, (stream, token) => stream.WriteAsync(bytes, token).AsTask(), condition ?? WriteCondition.Any,
            cancellationToken);

    public static Func<Stream, CancellationToken, Task> Text(string text) =>
        (stream, token) => stream.WriteAsync(Encoding.UTF8.GetBytes(text), token).AsTask();

    public static async Task<string> ReadAsync(this IBlobStore store, string key) => Encoding.UTF8.GetString(await store.ReadAllAsync(key));

    public static async Task<byte[]> ReadAllAsync(this IBlobStore store, string key)
    {
        await using var blob = await store.OpenAsync(key) ?? throw new FileNotFoundException(key);
        using var copy = new MemoryStream();
        await blob.Content.CopyToAsync(copy);
        Assert.Equal(blob.SizeBytes, copy.Length);
        return copy.ToArray();
    }

    /// <summary>Bytes that differ everywhere and are the same for the same seed.</summary>
    public static byte[] Bytes(int count, int seed)
    {
        var bytes = new byte[count];
        var state = unchecked((uint)seed * 2_654_435_761u) + 1;
        for (var i = 0; i < count; i++)
        {
            state = unchecked((state * 1_664_525u) + 1_013_904_223u);
            bytes[i] = (byte)(state >> 24);
        }

        return bytes;
    }

    public static string Digest(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}

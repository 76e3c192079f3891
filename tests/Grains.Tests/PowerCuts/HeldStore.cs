using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>What a disk held after a power cut, to be looked at only.</summary>
internal sealed class HeldStore(IReadOnlyDictionary<string, byte[]> files) : IBlobStore
{
    public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) => Task.FromResult(
        files.TryGetValue(key, out var bytes)
            ? new OpenedBlob(new MemoryStream(bytes, writable: false), () => Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length)
            : null);

    public async IAsyncEnumerable<string> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Task.CompletedTask;
        foreach (var key in files.Keys.Where(key => key[0] != '.' && key.StartsWith(prefix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)) yield return key;
    }

    public Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
        CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();

    public Task DeleteAsync(string key, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task MakeDurableAsync(CancellationToken cancellationToken = default) => throw new NotSupportedException();
}

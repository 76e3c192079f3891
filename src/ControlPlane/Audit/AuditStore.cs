using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;

namespace FedRLora.ControlPlane.Audit;

/// <summary>The lines that are stored: one blob each, written where none is, so that no two processes continue a chain at one
/// place.</summary>
/// <param name="store">The store.</param>
public sealed class AuditStore(IBlobStore store)
{
    /// <summary>Writes a line.</summary>
    /// <exception cref="BlobConflictException">Another process wrote that line.</exception>
    public async Task AddAsync(string silo, int number, ReadOnlyMemory<byte> line, CancellationToken cancellationToken)
    {
        await store.WriteAsync(Keys.AuditLine(silo, number), (stream, token) => stream.WriteAsync(line, token).AsTask(),
            WriteCondition.Absent, cancellationToken);
        await store.MakeDurableAsync(cancellationToken);
    }

    /// <summary>The silos that have a chain.</summary>
    public async Task<IReadOnlyList<string>> SilosAsync(CancellationToken cancellationToken)
    {
        var silos = new SortedSet<string>(StringComparer.Ordinal);
        await foreach (var key in store.ListAsync(Keys.Audit, cancellationToken))
        {
            if (Keys.AuditLineOf(key) is var (silo, _)) silos.Add(silo);
        }

        return [.. silos];
    }

    /// <summary>The number of the last line of a chain, and its bytes; null where there is none.</summary>
    public async Task<(int Number, byte[] Line)?> LastAsync(string silo, CancellationToken cancellationToken)
    {
        int? last = null;
        await foreach (var key in store.ListAsync(Keys.AuditOf(silo), cancellationToken)) last = Keys.AuditLineOf(key)?.Number ?? last;
        return last is { } number && await ReadAsync(Keys.AuditLine(silo, number), cancellationToken) is { } line ? (number, line) : null;
    }

    /// <summary>The stored lines of a chain after a number, in the order of the numbers that their keys have.</summary>
    public async IAsyncEnumerable<(int Number, byte[] Line)> LinesAsync(
        string silo, int after, int most, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var left = most;
        await foreach (var key in store.ListAsync(Keys.AuditOf(silo), cancellationToken))
        {
            if (Keys.AuditLineOf(key) is not var (_, number) || number <= after) continue;
            if (left-- == 0) yield break;
            if (await ReadAsync(key, cancellationToken) is { } line) yield return (number, line);
        }
    }

    private async Task<byte[]?> ReadAsync(string key, CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(key, cancellationToken);
        if (opened is null) return null;
        using var copy = new MemoryStream();
        await opened.Content.CopyToAsync(copy, cancellationToken);
        return copy.ToArray();
    }
}

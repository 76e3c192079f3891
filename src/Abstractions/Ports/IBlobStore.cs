using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Ports;

/// <summary>What must hold for a write to happen.</summary>
/// <param name="IfMatch">The blob's current ETag; null for no such condition.</param>
/// <param name="IfNoneMatch">True: the blob must not exist.</param>
public sealed record WriteCondition(string? IfMatch, bool IfNoneMatch)
{
    /// <summary>Writes whatever is there.</summary>
    public static WriteCondition Any { get; } = new(null, false);

    /// <summary>Writes only where nothing is.</summary>
    public static WriteCondition Absent { get; } = new(null, true);

    /// <summary>Writes only over the version with this ETag.</summary>
    public static WriteCondition Match(string etag) => new(etag, false);

    /// <summary>Writes only where still is what was found: the version with this ETag, or nothing where it is null.</summary>
    public static WriteCondition Unchanged(string? etag) => etag is null ? Absent : Match(etag);
}

/// <summary>The condition of a write did not hold; nothing was written.</summary>
public sealed class BlobConflictException(string key) : Exception($"Blob {key} was changed by somebody else.");

/// <summary>
/// A store cannot be used now: it does not answer within its budget of retries, refuses the credentials, or has no room. The same
/// call may succeed later; nothing was torn.
/// </summary>
[GenerateSerializer, Alias("fedrlora.store-unavailable")]
public sealed class StoreUnavailableException : IOException
{
    /// <param name="message">Which store, what it said, and what to do.</param>
    /// <param name="innerException">What the store said.</param>
    public StoreUnavailableException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>The trouble of a store behind an exception, or behind what it wraps; null where it has another cause.</summary>
    public static StoreUnavailableException? In(Exception? exception) =>
        exception is null or StoreUnavailableException ? (StoreUnavailableException?)exception : In(exception.InnerException);
}

/// <summary>What a write left behind.</summary>
/// <param name="Ref">Key, digest and size.</param>
/// <param name="ETag">Version for the next conditional write.</param>
public sealed record WrittenBlob(BlobRef Ref, string ETag);

/// <summary>An open blob; dispose it.</summary>
/// <param name="Content">Its bytes from the start.</param>
/// <param name="Version">Finds its version; few readers ask.</param>
/// <param name="SizeBytes">Its length.</param>
public sealed record OpenedBlob(Stream Content, Func<string> Version, long SizeBytes) : IAsyncDisposable
{
    /// <summary>Its version for a conditional write; ask before it is disposed.</summary>
    public string ETag => Version();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Content.DisposeAsync();
}

/// <summary>
/// A blob store: atomic writes (a reader sees the old content or the new, never a part), conditions, listing by prefix. Keys
/// are paths of lower-risk segments (letters, digits, dot, dash, underscore) joined by '/'.
/// </summary>
public interface IBlobStore
{
    /// <summary>Writes a blob: <paramref name="content"/> is called once with the stream to fill.</summary>
    /// <exception cref="BlobConflictException">The condition does not hold.</exception>
    Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Opens a blob; null where there is none. Where a blob is deleted and its key written again at the same moment, a store may
    /// give another blob of the same length: who opens a key that is ever deleted checks a digest, or what the blob says it is.
    /// </summary>
    Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default);

    /// <summary>Keys that begin with <paramref name="prefix"/>, in ordinal order.</summary>
    IAsyncEnumerable<string> ListAsync(string prefix, CancellationToken cancellationToken = default);

    /// <summary>Deletes a blob; nothing happens where there is none.</summary>
    Task DeleteAsync(string key, CancellationToken cancellationToken = default);

    /// <summary>Deletes every blob whose key begins with <paramref name="prefix"/>, which ends with '/'.</summary>
    Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default);

    /// <summary>Returns when every write and delete that was answered before this call will survive a power cut.</summary>
    Task MakeDurableAsync(CancellationToken cancellationToken = default);
}

/// <summary>The stores a silo reaches.</summary>
public interface IBlobStores
{
    /// <summary>The job's store: plans, manifests, shared state, updates.</summary>
    IBlobStore Job { get; }

    /// <summary>The store of this silo's own site: heads and optimizer states.</summary>
    IBlobStore Site { get; }
}

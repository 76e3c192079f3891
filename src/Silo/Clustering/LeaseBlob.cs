using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Silo.Clustering;

/// <summary>The lease in its store.</summary>
internal sealed class LeaseBlob(IBlobStore store)
{
    public async Task<StoredLease> ReadAsync(CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(Keys.ClusterLease, cancellationToken);
        if (opened is null) return new StoredLease(null, null, null);
        var bytes = await opened.ReadAsync(cancellationToken);
        try
        {
            return new StoredLease(ClusterLease.Parse(bytes), opened.ETag, null);
        }
        catch (CorruptBlobException e)
        {
            return new StoredLease(null, opened.ETag, e);
        }
    }

    /// <summary>Writes over what was read; false where somebody else wrote first.</summary>
    public async Task<bool> WriteAsync(ClusterLease lease, StoredLease before, CancellationToken cancellationToken)
    {
        try
        {
            await store.WriteBytesAsync(Keys.ClusterLease, lease.ToBytes(), before.ETag is { } etag
                ? WriteCondition.Match(etag)
                : WriteCondition.Absent, cancellationToken);
            return true;
        }
        catch (BlobConflictException)
        {
            return false;
        }
    }
}

/// <summary>What was read.</summary>
/// <param name="Lease">The lease; null where there is none, or none that can be read.</param>
/// <param name="ETag">Its version; null where there is none.</param>
/// <param name="Problem">Why it cannot be read.</param>
internal sealed record StoredLease(ClusterLease? Lease, string? ETag, CorruptBlobException? Problem);

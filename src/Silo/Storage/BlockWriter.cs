using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Azure;
using Azure.Storage.Blobs.Models;
using Azure.Storage.Blobs.Specialized;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// One write of a blob: a stream that stages a block whenever its buffer is full, and a commit. Nothing is visible before the
/// commit; blocks that are never committed are dropped by the service.
/// </summary>
internal sealed class BlockWriter(
    string key, BlockBlobClient blob, WriteCondition condition, StoreRequests requests, int blockBytes,
    CancellationToken cancellationToken) : Stream
{
    // Marks the version as this write's: an answer that is lost makes the retry of a conditional write conflict with itself.
    private const string WriteId = "fedrlora_write";
    private const int FirstBufferBytes = 1 << 16;

    // Of a version that nobody will find any more.
    private const string WrittenOver = "\"written-over\"";
    private readonly string _id = Guid.NewGuid().ToString("n");
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly List<string> _blocks = [];
    private byte[] _buffer = [];
    private int _buffered;
    private long _written;
    private string? _before; // the version there when the first block was staged

    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            if (_buffered == blockBytes) Stage();
            buffer = buffer[Take(buffer)..];
        }
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        while (!buffer.IsEmpty)
        {
            if (_buffered == blockBytes) await StageAsync(cancellationToken).ConfigureAwait(false);
            buffer = buffer[Take(buffer.Span)..];
        }
    }

    /// <summary>Makes what was written the blob, if the condition holds.</summary>
    /// <exception cref="BlobConflictException">It does not.</exception>
    public async Task<WrittenBlob> CommitAsync()
    {
        var written = new BlobRef(key, Convert.ToHexStringLower(_hash.GetHashAndReset()), _written);
        try
        {
            if (_blocks.Count > 0 && _buffered > 0) await StageAsync(cancellationToken).ConfigureAwait(false);
            var answer = await requests.RunAsync<Response<BlobContentInfo>>(_blocks.Count > 0 ? CommitBlocksAsync : PutAsync,
                cancellationToken).ConfigureAwait(false);
            return new WrittenBlob(written, answer.Value.ETag.ToString());
        }
        catch (RequestFailedException e) when (e.IsConflict() || e.HasLostBlocks())
        {
            var there = await LookAsync(cancellationToken).ConfigureAwait(false);
            return new WrittenBlob(written, Judge(e, there));
        }
    }

    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing) _hash.Dispose();
        base.Dispose(disposing);
    }

    // The version that this write made. Who commits blocks drops those that others have staged for the blob: a write without a
    // condition whose blocks went that way counts as made just before, and written over.
    private string Judge(RequestFailedException refused, BlobProperties? there)
    {
        if (there is not null && there.Metadata.TryGetValue(WriteId, out var id) && id == _id) return there.ETag.ToString();
        if (refused.IsConflict()) throw new BlobConflictException(key);
        if (there?.ETag.ToString() == _before)
            throw requests.Unavailable($"it has lost blocks of {key}, whose old content is untouched; write it again.", refused);
        return condition == WriteCondition.Any ? WrittenOver : throw new BlobConflictException(key);
    }

    private Task<Response<BlobContentInfo>> PutAsync(CancellationToken token) =>
        blob.UploadAsync(Buffered(), new BlobUploadOptions { Conditions = Conditions, Metadata = Metadata }, token);

    private Task<Response<BlobContentInfo>> CommitBlocksAsync(CancellationToken token) =>
        blob.CommitBlockListAsync(_blocks, new CommitBlockListOptions { Conditions = Conditions, Metadata = Metadata }, token);

    private BlobRequestConditions Conditions =>
        new() { IfMatch = condition.IfMatch is { } etag ? new ETag(etag) : null, IfNoneMatch = condition.IfNoneMatch ? ETag.All : null };

    private Dictionary<string, string> Metadata => new() { [WriteId] = _id };

    private async Task StageAsync(CancellationToken token)
    {
        if (_blocks.Count == 0) _before = (await LookAsync(token).ConfigureAwait(false))?.ETag.ToString();
        var id = NextBlock();
        await requests.RunAsync(budget => blob.StageBlockAsync(id, Buffered(), cancellationToken: budget), token).ConfigureAwait(false);
        _buffered = 0;
    }

    private void Stage()
    {
        if (_blocks.Count == 0) _before = Look()?.ETag.ToString();
        var id = NextBlock();
        requests.Run(budget => blob.StageBlock(id, Buffered(), cancellationToken: budget), cancellationToken);
        _buffered = 0;
    }

    private async Task<BlobProperties?> LookAsync(CancellationToken token)
    {
        try
        {
            return await requests.RunAsync(budget => blob.GetPropertiesAsync(cancellationToken: budget), token).ConfigureAwait(false);
        }
        catch (RequestFailedException e) when (e.IsMissing())
        {
            return null;
        }
    }

    private BlobProperties? Look()
    {
        try
        {
            return requests.Run(budget => blob.GetProperties(cancellationToken: budget), cancellationToken);
        }
        catch (RequestFailedException e) when (e.IsMissing())
        {
            return null;
        }
    }

    // Of one length for all writers of a blob, as the service asks.
    private string NextBlock()
    {
        _blocks.Add(
            Convert.ToBase64String(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{_id}-{_blocks.Count:D6}"))));
        return _blocks[^1];
    }

    private MemoryStream Buffered() => new(_buffer, 0, _buffered, writable: false);

    // As much as the block still holds; its buffer grows with small content and is never larger than a block.
    private int Take(ReadOnlySpan<byte> bytes)
    {
        var taken = Math.Min(bytes.Length, blockBytes - _buffered);
        if (_buffered + taken > _buffer.Length)
            Array.Resize(ref _buffer, Math.Min(blockBytes, Math.Max(_buffered + taken, Math.Max(FirstBufferBytes, 2 * _buffer.Length))));
        bytes[..taken].CopyTo(_buffer.AsSpan(_buffered));
        _hash.AppendData(bytes[..taken]);
        _buffered += taken;
        _written += taken;
        return taken;
    }
}

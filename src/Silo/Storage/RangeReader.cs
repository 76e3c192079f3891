using Azure;
using Azure.Storage.Blobs.Models;
using Azure.Storage.Blobs.Specialized;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// A blob read in ranges, of which one is in memory. Each range is a request of its own with its own retries, bound to the
/// version that was opened, so a connection that breaks costs one range and nobody reads a mixture of two versions.
/// </summary>
internal sealed class RangeReader : Stream
{
    private readonly string _key;
    private readonly BlockBlobClient _blob;
    private readonly StoreRequests _requests;
    private readonly ETag _etag;
    private readonly byte[] _range;
    private int _filled;
    private int _taken;
    private long _begin; // of the range, in the blob

    private RangeReader(string key, BlockBlobClient blob, StoreRequests requests, ETag etag, long length, byte[] range) =>
        (_key, _blob, _requests, _etag, Length, _range, _filled) = (key, blob, requests, etag, length, range, range.Length);

    /// <summary>The version that is read.</summary>
    public string ETag => _etag.ToString();

    public override long Length { get; }
    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Position { get => _begin + _taken; set => throw new NotSupportedException(); }

    /// <summary>Opens a blob with its first range, which for small ones is all and one request; null where there is none.</summary>
    public static async Task<RangeReader?> OpenAsync(
        string key, BlockBlobClient blob, StoreRequests requests, int rangeBytes, CancellationToken cancellationToken)
    {
        try
        {
            return await requests.RunAsync(async token =>
            {
                using var answer = (await blob.DownloadStreamingAsync(
                    new BlobDownloadOptions { Range = new HttpRange(0, rangeBytes) }, token).ConfigureAwait(false)).Value;
                var length = LengthOf(answer.Details);
                var first = new byte[Math.Min(length, rangeBytes)];
                await answer.Content.ReadExactlyAsync(first, token).ConfigureAwait(false);
                return new RangeReader(key, blob, requests, answer.Details.ETag, length, first);
            }, cancellationToken).ConfigureAwait(false);
        }
        catch (RequestFailedException e) when (e.IsMissing())
        {
            return null;
        }
        catch (RequestFailedException e) when (e.IsEmpty())
        {
            return await OpenEmptyAsync(key, blob, requests, rangeBytes, cancellationToken).ConfigureAwait(false);
        }
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        if (IsUsed) Fill();
        return Give(buffer);
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (IsUsed) await FillAsync(cancellationToken).ConfigureAwait(false);
        return Give(buffer.Span);
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    // A range of an empty blob is refused, without its version.
    private static async Task<RangeReader?> OpenEmptyAsync(
        string key, BlockBlobClient blob, StoreRequests requests, int rangeBytes, CancellationToken cancellationToken)
    {
        try
        {
            var found = (await requests.RunAsync(token => blob.GetPropertiesAsync(cancellationToken: token),
                cancellationToken).ConfigureAwait(false)).Value;
            return found.ContentLength == 0
                ? new RangeReader(key, blob, requests, found.ETag, 0, [])
                : await OpenAsync(key, blob, requests, rangeBytes, cancellationToken).ConfigureAwait(false); // filled in this instant
        }
        catch (RequestFailedException e) when (e.IsMissing())
        {
            return null;
        }
    }

    private static long LengthOf(BlobDownloadDetails details) =>
        string.IsNullOrEmpty(details.ContentRange) ? details.ContentLength : long.Parse(
            details.ContentRange.AsSpan(details.ContentRange.LastIndexOf('/') + 1), System.Globalization.CultureInfo.InvariantCulture);

    private bool IsUsed => _taken == _filled && Position < Length;

    private int Give(Span<byte> buffer)
    {
        var given = Math.Min(buffer.Length, _filled - _taken);
        _range.AsSpan(_taken, given).CopyTo(buffer);
        _taken += given;
        return given;
    }

    private void Fill()
    {
        var options = Next(out var bytes);
        try
        {
            _requests.Run(token =>
            {
                using var answer = _blob.DownloadStreaming(options, token).Value;
                answer.Content.ReadExactly(_range, 0, bytes);
                return bytes;
            }, CancellationToken.None);
        }
        catch (RequestFailedException e)
        {
            throw Changed(e);
        }

        Filled(bytes);
    }

    private async Task FillAsync(CancellationToken cancellationToken)
    {
        var options = Next(out var bytes);
        try
        {
            await _requests.RunAsync(async token =>
            {
                using var answer = (await _blob.DownloadStreamingAsync(options, token).ConfigureAwait(false)).Value;
                await answer.Content.ReadExactlyAsync(_range.AsMemory(0, bytes), token).ConfigureAwait(false);
                return bytes;
            }, cancellationToken).ConfigureAwait(false);
        }
        catch (RequestFailedException e)
        {
            throw Changed(e);
        }

        Filled(bytes);
    }

    private BlobDownloadOptions Next(out int bytes)
    {
        bytes = (int)Math.Min(_range.Length, Length - Position);
        return new BlobDownloadOptions
        {
            Range = new HttpRange(Position, bytes),
            Conditions = new BlobRequestConditions { IfMatch = _etag },
        };
    }

    private void Filled(int bytes) => (_begin, _filled, _taken) = (Position, bytes, 0);

    private StoreUnavailableException Changed(RequestFailedException refused) =>
        _requests.Unavailable($"{_key} was written over or deleted while it was read; read it again.", refused);
}

using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Blobs as files under a folder, for one machine: several processes may share the folder. A write fills a temporary file and
/// renames it, so a reader sees the old content or the new. Conditional writes hold a lock file for their moment and reach the
/// disk before they return; others survive the process but not a power cut. A disk that is full, broken or away is a
/// <see cref="StoreUnavailableException"/>; when it is usable again, so is the store.
/// </summary>
public sealed class DirectoryBlobStore : IBlobStore, IDisposable
{
    private const long HashedETagBytes = 1 << 20;
    private const int Busy = 11; // EWOULDBLOCK: somebody holds the lock
    private const int Exists = 17; // EEXIST: made by somebody else, and gone before it was looked at
    private const int MostOpenings = 1_000;
    private const int LockWaits = 6_000; // half a minute
    private readonly string _root;
    private readonly string _temporary;
    private readonly string _locks;
    private readonly SpareEntries _spare;
    private readonly FolderFaults _faults;

    /// <param name="root">The folder; made when it is not there.</param>
    /// <exception cref="StoreUnavailableException">It cannot be made or used.</exception>
    public DirectoryBlobStore(string root)
    {
        _root = Path.GetFullPath(root);
        _temporary = Path.Combine(_root, ".tmp");
        _locks = Path.Combine(_root, ".locks");
        _faults = new FolderFaults(_root, _temporary);
        _spare = _faults.Watch(() =>
        {
            Directory.CreateDirectory(_temporary);
            Directory.CreateDirectory(_locks);
            return new SpareEntries(Path.Combine(_root, ".spare"));
        });
    }

    /// <inheritdoc/>
    public async Task<WrittenBlob> WriteAsync(string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        var (file, temporary) = _faults.Watch(() => _spare.TakeFile(Path.Combine(_temporary, Guid.NewGuid().ToString("n"))));
        var placed = false;
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var stream = new HashingStream(file, hash, _faults);
            await content(stream, cancellationToken).ConfigureAwait(false); // what it throws is not this folder's
            var written = new BlobRef(key, Convert.ToHexStringLower(hash.GetHashAndReset()), stream.Written);
            var version = await _faults.WatchAsync(() => PlaceAsync(file, temporary, path, written, condition, cancellationToken)).ConfigureAwait(false);
            placed = true;
            return new WrittenBlob(written, version);
        }
        finally
        {
            file.Dispose();
            if (!placed) _faults.Watch(() => File.Delete(temporary));
        }
    }

    /// <inheritdoc/>
    public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        return Task.FromResult(_faults.Watch(() =>
        {
            if (Open(path) is { } file) return new OpenedBlob(file, () => ETagOf(file.SafeFileHandle), file.Length);
            _faults.CheckPresent();
            return null;
        }));
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Task.CompletedTask.ConfigureAwait(false);
        foreach (var key in _faults.Watch(() => Listed(BlobKeys.CheckPrefix(prefix))))
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return key;
        }
    }

    /// <inheritdoc/>
    public Task DeleteAsync(string key, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        _faults.Watch(() =>
        {
            _faults.CheckPresent();
            if (File.Exists(path)) File.Delete(path);
            DeleteEmpty(Path.GetDirectoryName(path)!);
        });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default)
    {
        var path = PathOf(prefix.TrimEnd('/'));
        _faults.Watch(() =>
        {
            _faults.CheckPresent();
            _spare.DeleteAll(path);
            DeleteEmpty(Path.GetDirectoryName(path)!);
        });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task MakeDurableAsync(CancellationToken cancellationToken = default) => Task.Run(() => _faults.Watch(() =>
    {
        _faults.CheckPresent();
        FileSystem.Flush(_root);
    }), cancellationToken);

    private string[] Listed(string prefix)
    {
        var folder = Path.Combine(_root, prefix[..(prefix.LastIndexOf('/') + 1)]);
        _faults.CheckPresent();
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(_root, path))
            .Where(key => key[0] != '.' && key.StartsWith(prefix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)];
    }

    /// <summary>What writers that died have left half written, in bytes. No other process may use the store.</summary>
    /// <param name="remove">Whether it is deleted too.</param>
    public long HalfWritten(bool remove)
    {
        var sizeBytes = 0L;
        foreach (var file in new DirectoryInfo(_temporary).EnumerateFiles())
        {
            sizeBytes += file.Length;
            if (remove) file.Delete();
        }

        return sizeBytes;
    }

    private void DeleteEmpty(string folder)
    {
        try
        {
            for (; folder.Length > _root.Length && SpareEntries.IsEmpty(folder); folder = Path.GetDirectoryName(folder)!) Directory.Delete(folder);
        }
        catch (IOException)
        {
            // not empty any more, or gone already
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _spare.Dispose();

    // Returns the version. The file is closed before it is moved, with its lock: readers find it the moment it is in its place.
    private async Task<string> PlaceAsync(SafeFileHandle file, string temporary, string path, BlobRef written, WriteCondition condition, CancellationToken cancellationToken)
    {
        _faults.CheckPresent();
        if (condition != WriteCondition.Any) RandomAccess.FlushToDisk(file);
        var version = IsHashed(written.SizeBytes) ? written.Sha256 : ETagOf(written.SizeBytes, File.GetLastWriteTimeUtc(file));
        file.Dispose();
        await using var held = condition == WriteCondition.Any ? null : await LockAsync(written.Key, cancellationToken).ConfigureAwait(false);
        if ((condition.IfNoneMatch && File.Exists(path)) || (condition.IfMatch is { } etag && etag != ETagOf(path))) throw new BlobConflictException(written.Key);
        Place(temporary, path);
        return version;
    }

    // A delete may take an empty folder away between its making and the move into it.
    private void Place(string temporary, string path)
    {
        var folder = Path.GetDirectoryName(path)!;
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                if (!Directory.Exists(folder)) _spare.MakeFolder(folder);
                File.Move(temporary, path, overwrite: true);
                return;
            }
            catch (IOException e) when (attempt < MostOpenings && (e is DirectoryNotFoundException || e.HResult == Exists || (e is FileNotFoundException && File.Exists(temporary))))
            {
                // made again; where somebody else has made it meanwhile, the framework takes its absence for the file's
            }
        }
    }

    private string PathOf(string key) => Path.Combine(_root, BlobKeys.Check(key));

    // Opening a file and locking it are two steps. Between them it may be deleted, emptied and filled again as another blob: a
    // locked file stays as it is, so it is the blob if its place still names a file of its length and time.
    private static FileStream? Open(string path)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (!File.Exists(path)) return null; // often: cheaper than an exception
            FileStream? file = null;
            try
            {
                file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
                var named = new FileInfo(path);
                if (named.Exists && named.Length == file.Length && named.LastWriteTimeUtc == File.GetLastWriteTimeUtc(file.SafeFileHandle)) return file;
                file.Dispose(); // written over or deleted in this instant
                if (attempt == MostOpenings) throw new IOException($"{path} changes whenever it is opened.");
            }
            catch (IOException) when (attempt < MostOpenings)
            {
                file?.Dispose(); // deleted in this instant, or emptied
            }
        }
    }

    private static string? ETagOf(string path)
    {
        using var file = Open(path);
        return file is null ? null : ETagOf(file.SafeFileHandle);
    }

    // A digest where that is cheap; commit pointers and grain states are small. Larger blobs are immutable by their keys.
    private static string ETagOf(SafeFileHandle file)
    {
        var sizeBytes = RandomAccess.GetLength(file);
        if (!IsHashed(sizeBytes)) return ETagOf(sizeBytes, File.GetLastWriteTimeUtc(file));
        var bytes = new byte[sizeBytes];
        return Convert.ToHexStringLower(SHA256.HashData(bytes.AsSpan(0, RandomAccess.Read(file, bytes, 0))));
    }

    private static string ETagOf(long sizeBytes, DateTime written) => string.Create(CultureInfo.InvariantCulture, $"{sizeBytes}-{written.Ticks}");

    private static bool IsHashed(long sizeBytes) => sizeBytes <= HashedETagBytes;

    private async Task<FileStream> LockAsync(string key, CancellationToken cancellationToken)
    {
        var name = Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(key)).AsSpan(0, 1)); // 256 locks, however many keys
        for (var waited = 0; ; waited++)
        {
            try
            {
                return new FileStream(Path.Combine(_locks, name), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (DirectoryNotFoundException) when (waited < LockWaits)
            {
                Directory.CreateDirectory(_locks);
            }
            catch (IOException e) when (e.HResult is Busy && waited < LockWaits)
            {
                await Task.Delay(5, cancellationToken).ConfigureAwait(false); // the holder is another writer; the system frees a dead one's lock
            }
        }
    }

    // By pieces that are written while the processor's cache still holds them from being hashed.
    private sealed class HashingStream(SafeFileHandle file, IncrementalHash hash, FolderFaults faults) : Stream
    {
        private const int Piece = 1 << 17;

        public long Written { get; private set; }
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
                var piece = buffer[..Math.Min(Piece, buffer.Length)];
                hash.AppendData(piece);
                WritePiece(piece);
                Written += piece.Length;
                buffer = buffer[piece.Length..];
            }
        }

        private void WritePiece(ReadOnlySpan<byte> piece)
        {
            try
            {
                RandomAccess.Write(file, piece, Written);
            }
            catch (Exception e) when (faults.Translate(e) is { } unavailable)
            {
                throw unavailable;
            }
        }

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled(cancellationToken);
            Write(buffer.Span); // into the system's memory: as fast as handing it to another thread
            return ValueTask.CompletedTask;
        }

        public override void Flush()
        {
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;
        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
        public override void SetLength(long value) => throw new NotSupportedException();
    }
}

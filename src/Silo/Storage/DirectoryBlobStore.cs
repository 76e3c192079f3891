using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Blobs as files under a folder, for one machine: several processes may share the folder. A write fills a temporary file and
/// renames it, so a reader sees the old content or the new. Conditional writes hold a lock file for their moment, and a power cut
/// leaves their old content or their new; what else was written survives the process, and a power cut after
/// <see cref="MakeDurableAsync"/>. No file is ever written over and nothing behind a link is changed, so that what somebody else
/// has linked to stays as it is. A disk that is full, broken or away is a <see cref="StoreUnavailableException"/>; when it is usable
/// again, so is the store.
/// </summary>
public sealed class DirectoryBlobStore : IBlobStore, IDisposable
{
    /// <summary>The folder of files that are being written.</summary>
    internal const string Temporary = ".tmp";

    private const long HashedETagBytes = 1 << 20;
    private const int Busy = 11; // EWOULDBLOCK: somebody holds the lock
    private const int Exists = 17; // EEXIST: made by somebody else, and gone before it was looked at
    private const int NotEmpty = 39; // ENOTEMPTY
    private const int MostTries = 1_000;
    private static readonly TimeSpan LockWait = TimeSpan.FromMilliseconds(5);

    // Half a minute. The holder is another writer, of another process or thread, and the system frees a dead one's lock.
    private static readonly Retry<FileStream> LockWaits = new(
        TimeProvider.System, static e => IsGone(e) || e is IOException { HResult: Busy },
        static (_, e) => IsGone(e) ? TimeSpan.Zero : LockWait, most: 6_000);

    private readonly string _root;
    private readonly string _temporary;
    private readonly string _locks;
    private readonly StoreMode _mode;
    private readonly Durability _durability;
    private readonly IDisk _disk;
    private readonly FolderErrors _errors;

    /// <param name="root">The folder, or a link to it; made when it is not there.</param>
    /// <param name="mode">Who may read and write what is stored.</param>
    /// <param name="durability">What a power cut may take.</param>
    /// <exception cref="StoreUnavailableException">It cannot be made or used.</exception>
    public DirectoryBlobStore(string root, StoreMode mode = StoreMode.Private, Durability durability = Durability.Full)
        : this(root, mode, durability, LocalDisk.Open)
    {
    }

    /// <inheritdoc cref="DirectoryBlobStore(string, StoreMode, Durability)"/>
    /// <param name="root"/>
    /// <param name="mode"/>
    /// <param name="durability"/>
    /// <param name="open">Opens the disk that the folder is on.</param>
    internal DirectoryBlobStore(string root, StoreMode mode, Durability durability, Func<string, StoreMode, IDisk> open)
    {
        _root = Path.GetFullPath(root);
        _temporary = Path.Combine(_root, Temporary);
        _locks = Path.Combine(_root, ".locks");
        (_mode, _durability) = (mode, durability);
        _errors = new FolderErrors(_root, _temporary);
        _disk = _errors.Watch(() =>
        {
            StorePermissions.MakeFolders(_root, mode);
            foreach (var own in new[] { _temporary, _locks })
            {
                if (StoreLinks.IsLink(own)) throw StoreLinks.Refusal(_root, own);
                StorePermissions.MakeFolder(own, mode);
            }

            return open(_root, mode);
        });
    }

    /// <inheritdoc/>
    public async Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        var temporary = NewTemporary();
        var file = _errors.Watch(() => _disk.Create(temporary));
        var placed = false;
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var stream = new HashingStream(file, hash, _errors);
            await content(stream, cancellationToken).ConfigureAwait(false); // what it throws is not this folder's
            var written = new BlobRef(key, Convert.ToHexStringLower(hash.GetHashAndReset()), stream.Written);
            var version = await _errors.WatchAsync(
                () => PlaceAsync(file, temporary, path, written, condition, cancellationToken)).ConfigureAwait(false);
            placed = true;
            return new WrittenBlob(written, version);
        }
        finally
        {
            file.Dispose();
            if (!placed) _errors.Watch(() => _disk.Delete(temporary));
        }
    }

    /// <inheritdoc/>
    public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        return Task.FromResult(_errors.Watch(() =>
        {
            if (Open(path) is { } file) return new OpenedBlob(file, () => ETagOf(file.SafeFileHandle), file.Length);
            _errors.CheckPresent();
            return null;
        }));
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Task.CompletedTask.ConfigureAwait(false);
        foreach (var key in _errors.Watch(() => Listed(BlobKeys.CheckPrefix(prefix))))
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return key;
        }
    }

    /// <inheritdoc/>
    public Task DeleteAsync(string key, CancellationToken cancellationToken = default)
    {
        var path = PathOf(key);
        _errors.Watch(() =>
        {
            _errors.CheckPresent();
            StoreLinks.Check(_root, path);
            _disk.Delete(path);
            DeleteEmpty(Path.GetDirectoryName(path)!);
        });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default)
    {
        var path = PathOf(prefix.TrimEnd('/'));
        _errors.Watch(() =>
        {
            _errors.CheckPresent();
            StoreLinks.Check(_root, path);
            if (StoreLinks.IsLink(path)) _disk.Delete(path);
            else if (Directory.Exists(path)) DeleteFolder(path);
            DeleteEmpty(Path.GetDirectoryName(path)!);
        });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task MakeDurableAsync(CancellationToken cancellationToken = default)
    {
        if (_durability == Durability.Fast) return Task.CompletedTask;
        return Task.Run(() => _errors.Watch(() =>
        {
            _errors.CheckPresent();
            _disk.Flush();
        }), cancellationToken);
    }

    private string[] Listed(string prefix)
    {
        var folder = Path.Combine(_root, prefix[..(prefix.LastIndexOf('/') + 1)]);
        _errors.CheckPresent();
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(_root, path))
            .Where(key => key[0] != '.' && key.StartsWith(prefix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)];
    }

    /// <summary>What writers that died have left half written or half deleted, in bytes. No other process may use the store.</summary>
    /// <param name="remove">Whether it is deleted too.</param>
    public long Leftovers(bool remove)
    {
        var sizeBytes = 0L;
        foreach (var left in new DirectoryInfo(_temporary).EnumerateFileSystemInfos())
        {
            var folder = left is DirectoryInfo && left.LinkTarget is null ? (DirectoryInfo)left : null;
            sizeBytes += folder?.EnumerateFiles("*", SearchOption.AllDirectories).Sum(static file => file.Length)
                ?? (left as FileInfo)?.Length ?? 0;
            if (!remove) continue;
            if (folder is not null) DeleteContent(left.FullName);
            else _disk.Delete(left.FullName);
        }

        return sizeBytes;
    }

    /// <inheritdoc/>
    public void Dispose() => _disk.Dispose();

    private string NewTemporary() => Path.Combine(_temporary, Guid.NewGuid().ToString("n"));

    // For every reader at once, and whoever writes into it meanwhile makes it anew.
    private void DeleteFolder(string folder)
    {
        var deleted = NewTemporary();
        try
        {
            _disk.RenameFolder(folder, deleted);
        }
        catch (IOException) when (!Directory.Exists(folder))
        {
            return; // another process was first
        }

        DeleteContent(deleted);
    }

    private void DeleteContent(string folder)
    {
        for (var tries = 1; ; tries++)
        {
            foreach (var entry in new DirectoryInfo(folder).EnumerateFileSystemInfos())
            {
                if (entry is DirectoryInfo && entry.LinkTarget is null) DeleteContent(entry.FullName);
                else _disk.Delete(entry.FullName);
            }

            try
            {
                _disk.DeleteFolder(folder);
                return;
            }
            catch (IOException e) when (tries < MostTries && e.HResult == NotEmpty)
            {
                // a writer had its hand in it when it was moved
            }
        }
    }

    private void DeleteEmpty(string folder)
    {
        try
        {
            while (folder.Length > _root.Length && !Directory.EnumerateFileSystemEntries(folder).Any())
            {
                _disk.DeleteFolder(folder);
                folder = Path.GetDirectoryName(folder)!;
            }
        }
        catch (IOException)
        {
            // not empty any more, or gone already
        }
    }

    // Returns the version. The file is closed before it is moved, with its lock: readers find it the moment it is in its place.
    private async Task<string> PlaceAsync(
        IDiskFile file, string temporary, string path, BlobRef written, WriteCondition condition, CancellationToken cancellationToken)
    {
        _errors.CheckPresent();
        if (condition != WriteCondition.Any && _durability == Durability.Full) file.Flush();
        var version = IsHashed(written.SizeBytes) ? written.Sha256 : ETagOf(written.SizeBytes, file.LastWriteTimeUtc);
        file.Dispose();
        await using var held = condition == WriteCondition.Any
            ? null
            : await LockAsync(written.Key, cancellationToken).ConfigureAwait(false);
        if ((condition.IfNoneMatch && File.Exists(path)) || (condition.IfMatch is { } etag && etag != ETagOf(path)))
            throw new BlobConflictException(written.Key);
        Place(temporary, path);
        return version;
    }

    // A delete may take an empty folder away between its making and the move into it.
    private void Place(string temporary, string path)
    {
        var folder = Path.GetDirectoryName(path)!;
        for (var tries = 1; ; tries++)
        {
            try
            {
                StoreLinks.Check(_root, path);
                MakeFolders(folder);
                _disk.Rename(temporary, path);
                return;
            }
            catch (IOException e) when (tries < MostTries && (e is DirectoryNotFoundException || e.HResult == Exists
                || (e is FileNotFoundException && File.Exists(temporary))))
            {
                // made again; where somebody else has made it meanwhile, the framework takes its absence for the file's
            }
        }
    }

    private void MakeFolders(string folder)
    {
        if (Directory.Exists(folder)) return;
        MakeFolders(Path.GetDirectoryName(folder)!);
        _disk.MakeFolder(folder);
    }

    private string PathOf(string key) => Path.Combine(_root, BlobKeys.Check(key));

    private static FileStream? Open(string path)
    {
        if (!File.Exists(path)) return null; // often: cheaper than an exception
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null; // deleted in this instant
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

    private static string ETagOf(long sizeBytes, DateTime written) =>
        string.Create(CultureInfo.InvariantCulture, $"{sizeBytes}-{written.Ticks}");

    private static bool IsHashed(long sizeBytes) => sizeBytes <= HashedETagBytes;

    private async Task<FileStream> LockAsync(string key, CancellationToken cancellationToken)
    {
        // 256 locks, however many keys
        var name = Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(key)).AsSpan(0, 1));
        return await LockWaits.RunAsync((_, _) =>
        {
            var path = Path.Combine(_locks, name);
            if (StoreLinks.IsLink(path)) throw StoreLinks.Refusal(_root, path);
            if (!File.Exists(path)) MakeLock(path);
            return Task.FromResult(new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None));
        }, cancellationToken, (_, e) =>
        {
            if (IsGone(e)) StorePermissions.MakeFolder(_locks, _mode);
        }).ConfigureAwait(false);
    }

    private static bool IsGone(Exception? e) => e is DirectoryNotFoundException or FileNotFoundException;

    // With its permissions before another user's process can find it.
    private void MakeLock(string path)
    {
        var made = NewTemporary();
        StorePermissions.Create(made, _mode).Dispose();
        try
        {
            File.Move(made, path);
        }
        catch (IOException) when (File.Exists(path))
        {
            File.Delete(made); // another process was first
        }
    }

    // By pieces that are written while the processor's cache still holds them from being hashed.
    private sealed class HashingStream(IDiskFile file, IncrementalHash hash, FolderErrors errors) : Stream
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
                file.Write(piece, Written);
            }
            catch (Exception e) when (errors.Translate(e) is { } unavailable)
            {
                throw unavailable;
            }
        }

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

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

using System.Collections.Concurrent;
using System.Security.Cryptography;
using FedRLora.Abstractions;

namespace FedRLora.Training.Inputs;

/// <summary>
/// SHA-256 of files, each read once while nobody changes it: a process remembers all, the user's cache those of weights. A file that
/// changed less than two seconds before it was read is not remembered, since a later change might leave the same time behind.
/// </summary>
/// <param name="cache">What other processes of the user learned.</param>
/// <param name="time">The clock that file times are compared with.</param>
internal sealed class FileDigests(DigestCache cache, TimeProvider time)
{
    private const int Tries = 3;
    private const int HeaderPrefix = 8;
    private const int LongestHeader = 100_000_000;
    private static readonly TimeSpan Settled = TimeSpan.FromSeconds(2);
    private readonly ConcurrentDictionary<FileStamp, string> _known = new();
    private readonly ConcurrentDictionary<string, Lock> _reading = new(StringComparer.Ordinal);
    private long _bytesRead;

    /// <summary>Of this process.</summary>
    public static FileDigests OfProcess { get; } = new(DigestCache.OfUser(), TimeProvider.System);

    /// <summary>Bytes of content that were read so far.</summary>
    public long BytesRead => Interlocked.Read(ref _bytesRead);

    /// <summary>The digest of a file and its length.</summary>
    /// <param name="path">The file.</param>
    /// <param name="isWeights">Whether it holds tensors, which is worth remembering beyond this process.</param>
    /// <param name="cancellationToken">Looked at between two pieces.</param>
    /// <exception cref="BadInputException">It cannot be read, or changes all the time.</exception>
    public (string Sha256, long SizeBytes) Of(string path, bool isWeights, CancellationToken cancellationToken = default)
    {
        if (FileStamp.Of(path) is { } seen && _known.TryGetValue(seen, out var known)) return (known, seen.SizeBytes);
        try
        {
            lock (_reading.GetOrAdd(path, static _ => new Lock())) // who comes second finds what the first learned
            {
                for (var tries = 1; tries <= Tries; tries++)
                {
                    var begun = time.GetUtcNow();
                    var before = FileStamp.Of(path);
                    if (before is { } stamp && _known.TryGetValue(stamp, out var digest)) return (digest, stamp.SizeBytes);
                    using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
                    var header = isWeights ? HeaderOf(file) : "";
                    digest = isWeights && before is { } remembered ? cache.Find(remembered, header) : null;
                    var isNew = digest is null;
                    digest ??= ContentOf(file, cancellationToken);
                    if (FileStamp.Of(path) != before) continue;
                    if (before is { } settled && IsSettled(settled, begun))
                    {
                        _known[settled] = digest;
                        if (isWeights && isNew) cache.Keep(settled, header, digest);
                    }

                    return (digest, before?.SizeBytes ?? file.Length);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {e.Message}", e);
        }

        throw new BadInputException($"{path}: is being written; wait until that is done");
    }

    /// <summary>A stamp that a later change cannot leave as it is; null where there is none yet.</summary>
    public FileStamp? SettledStampOf(string path) => FileStamp.Of(path) is { } stamp && IsSettled(stamp, time.GetUtcNow()) ? stamp : null;

    private static bool IsSettled(FileStamp stamp, DateTimeOffset begun)
    {
        var latest = DateTimeOffset.UnixEpoch.AddTicks(Math.Max(stamp.Modified, stamp.Changed) / TimeSpan.NanosecondsPerTick);
        return begun - latest >= Settled;
    }

    // Names, shapes and places of the tensors: read always, so that a cache that lies is found out where it matters most.
    private static string HeaderOf(FileStream file)
    {
        var prefix = new byte[HeaderPrefix];
        if (file.ReadAtLeast(prefix, HeaderPrefix, throwOnEndOfStream: false) < HeaderPrefix) return "none";
        var length = BitConverter.ToInt64(prefix);
        if (length < 0 || length > Math.Min(LongestHeader, file.Length - HeaderPrefix)) return "none"; // the loader says what is wrong
        var header = new byte[length];
        file.ReadExactly(header);
        return Convert.ToHexStringLower(SHA256.HashData(header));
    }

    private string ContentOf(FileStream file, CancellationToken cancellationToken)
    {
        const int Piece = 1 << 20;
        file.Position = 0;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var piece = new byte[Piece];
        for (int read; (read = file.Read(piece)) > 0;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            hash.AppendData(piece, 0, read);
            Interlocked.Add(ref _bytesRead, read);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}

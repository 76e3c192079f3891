using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using Microsoft.Extensions.Logging;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// The tokens of several people, by their hashes, from a file that is read again when it changes. One that cannot be used leaves the one
/// before in force and is told once.
/// </summary>
public sealed partial class TokenTable
{
    // A group may read it, as Kubernetes' fsGroup arranges.
    private const UnixFileMode ForOthers = UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.GroupWrite;
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);
    private readonly string _file;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Lock _looking = new();
    private volatile IReadOnlyList<TokenEntry> _entries;
    private string _digest;
    private long _looked;

    private TokenTable(string file, TimeProvider time, ILogger log)
    {
        (_file, _time, _log, _looked) = (file, time, log, time.GetTimestamp());
        (_entries, _digest) = Read(file);
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="BadInputException">It cannot be used.</exception>
    public static TokenTable Open(string file, TimeProvider time, ILogger log) => new(file, time, log);

    /// <summary>The entry of a token; null where it is nobody's. Whether it still counts is for the caller to ask.</summary>
    public TokenEntry? Find(string token)
    {
        Look();
        var hash = TokenEntry.HashOf(token);
        TokenEntry? found = null;
        foreach (var entry in _entries) // all of them: how long it takes says nothing
        {
            if (CryptographicOperations.FixedTimeEquals(entry.Hash.Span, hash)) found = entry;
        }

        return found;
    }

    /// <summary>Whether an entry is still there and counts.</summary>
    public bool Stands(TokenEntry entry)
    {
        Look();
        return entry.CountsOn(_time.GetUtcNow())
            && _entries.Any(other => other.Hash.Span.SequenceEqual(entry.Hash.Span) && other.ToString() == entry.ToString());
    }

    private void Look()
    {
        lock (_looking)
        {
            if (_time.GetElapsedTime(_looked) < LookEvery) return;
            _looked = _time.GetTimestamp();
            var digest = _digest;
            try
            {
                // whoever reads a file that is being written sees half of it, and the whole a second later
                (var entries, digest) = Read(_file, digest);
                if (entries is null) return;
                _entries = entries;
                LogTaken(_log, _file, entries.Count);
            }
            catch (BadInputException e)
            {
                var told = $"problem: {e.Message}";
                if (_digest != told) LogKept(_log, e.Message);
                digest = told;
            }

            _digest = digest;
        }
    }

    private static (IReadOnlyList<TokenEntry> Entries, string Digest) Read(string file)
    {
        var (entries, digest) = Read(file, known: null);
        return (entries!, digest);
    }

    // No entries where the file is the known one.
    private static (IReadOnlyList<TokenEntry>? Entries, string Digest) Read(string file, string? known)
    {
        try
        {
            if ((File.GetUnixFileMode(file) & ForOthers) != UnixFileMode.None)
                throw new BadInputException($"{file}: others than its owner may write it, or everybody may read it; take their rights away "
                    + $"with: chmod g-w,o= {file}");
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            using var copy = new MemoryStream();
            stream.CopyTo(copy);
            var digest = Convert.ToHexStringLower(SHA256.HashData(copy.ToArray()));
            return digest == known ? (null, digest) : (TokenEntry.Parse(file, Encoding.UTF8.GetString(copy.ToArray())), digest);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BadInputException($"{file}: is missing; fedrlora token makes it", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: cannot be read: {e.Message}", e);
        }
    }

    [LoggerMessage(711, LogLevel.Information, "{File}: {Count} tokens count now")]
    private static partial void LogTaken(ILogger log, string file, int count);

    [LoggerMessage(712, LogLevel.Warning, "{Problem}; the tokens before stay in force")]
    private static partial void LogKept(ILogger log, string problem);
}

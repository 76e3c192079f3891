using System.Security.Cryptography;
using System.Text;

namespace FedRLora.Training.Inputs;

/// <summary>
/// Digests of large files that a user's processes remember for each other: <c>$XDG_CACHE_HOME/fedrlora/digests</c>, or
/// <c>~/.cache/fedrlora/digests</c>, a small file for each. Where it cannot be read or written nothing is remembered, and what is no
/// entry is none: the price is that a file is read again.
/// </summary>
/// <param name="folder">The folder; null remembers nothing.</param>
internal sealed class DigestCache(string? folder)
{
    private const int MostEntries = 1000;
    private const UnixFileMode OfUserAlone = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>The user's; of nobody where the environment names no folder.</summary>
    public static DigestCache OfUser()
    {
        var asked = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        if (Path.IsPathFullyQualified(asked ?? "")) return new(Path.Combine(asked!, "fedrlora", "digests"));
        var home = Environment.GetEnvironmentVariable("HOME");
        return new(Path.IsPathFullyQualified(home ?? "") ? Path.Combine(home!, ".cache", "fedrlora", "digests") : null);
    }

    /// <summary>The digest that a file with this stamp and header had; null where it is not known.</summary>
    public string? Find(FileStamp stamp, string header)
    {
        if (folder is null) return null;
        try
        {
            var entry = File.ReadAllText(PathOf(stamp));
            var digest = entry.Split('\n') is [_, _, var found, _, ""] ? found : "";
            return digest.Length == 64 && entry == Entry(stamp, header, digest) ? digest : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Remembers a digest, if that can be.</summary>
    public void Keep(FileStamp stamp, string header, string digest)
    {
        if (folder is null || OperatingSystem.IsWindows()) return;
        string? written = null;
        try
        {
            Directory.CreateDirectory(folder, OfUserAlone | UnixFileMode.UserExecute);
            written = Path.Combine(folder, $".{Path.GetRandomFileName()}");
            using (var file = new FileStream(written,
                new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OfUserAlone }))
                file.Write(Encoding.UTF8.GetBytes(Entry(stamp, header, digest)));
            File.Move(written, PathOf(stamp), overwrite: true);
            written = null;
            Shrink();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (written is not null) TryDelete(written);
        }
    }

    private string PathOf(FileStamp stamp) => Path.Combine(folder!, Digest($"{stamp}")[..32]);

    // The last line covers those before it: a file that was torn or edited is no entry.
    private static string Entry(FileStamp stamp, string header, string digest)
    {
        var body = $"{stamp}\n{header}\n{digest}\n";
        return $"{body}{Digest(body)}\n";
    }

    private static string Digest(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private void Shrink()
    {
        var entries = new DirectoryInfo(folder!).GetFiles();
        var surplus = Math.Max(0, entries.Length - MostEntries);
        foreach (var old in entries.OrderBy(static entry => entry.LastWriteTimeUtc).Take(surplus)) TryDelete(old.FullName);
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // another process deleted it, or may write here again later
        }
    }
}

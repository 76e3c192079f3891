using System.Security.Cryptography;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>Files of certificates and keys: read within bounds, written beside and renamed, never behind a link.</summary>
internal static class PkiFiles
{
    public const UnixFileMode Secret = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    public const UnixFileMode Public = Secret | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    private const UnixFileMode SecretFolder = Secret | UnixFileMode.UserExecute;
    private const UnixFileMode ForOthers = UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;
    private const long Largest = 1 << 20;
    private const long LargestList = 1 << 28; // some two million revoked certificates

    /// <summary>The text of a file that comes from somebody else.</summary>
    /// <exception cref="BadInputException">It is missing, no plain file, too large for what it should be, or cannot be read.</exception>
    public static string Read(string file) => Read(file, Largest);

    /// <summary>The text of a list that grows for years.</summary>
    /// <exception cref="BadInputException">It is missing, no plain file, too large for what it should be, or cannot be read.</exception>
    public static string ReadList(string file) => Read(file, LargestList);

    /// <summary>Opens a file to be read, however large it is.</summary>
    /// <exception cref="BadInputException">It is missing, no plain file, or cannot be read.</exception>
    public static FileStream Open(string file)
    {
        if (Directory.Exists(file)) throw new BadInputException($"{file}: is a folder; a file is wanted");
        if (!File.Exists(file)) throw new BadInputException($"{file}: is missing");
        var opened = Try(file, "read", () => new FileStream(file, FileMode.Open, FileAccess.Read));
        if (opened.CanSeek) return opened;
        opened.Dispose();
        throw new BadInputException($"{file}: is no plain file");
    }

    /// <summary>Writes a file where none is.</summary>
    /// <exception cref="BadInputException">There is one, or it cannot be written.</exception>
    public static void Create(string file, string text, UnixFileMode mode)
    {
        RequireAbsent(file);
        Write(file, text, mode, overwrite: false);
    }

    /// <summary>Puts a file into the place of another by one rename, so that it is never there by half.</summary>
    /// <exception cref="BadInputException">The place holds a link or a folder, or it cannot be written.</exception>
    public static void Replace(string file, string text, UnixFileMode mode)
    {
        RequireReplaceable(file);
        Write(file, text, mode, overwrite: true);
    }

    /// <summary>Renames a file over another.</summary>
    /// <exception cref="BadInputException">The place holds a link or a folder, or it cannot be written.</exception>
    public static void Move(string from, string to)
    {
        RequireReplaceable(to);
        Try(to, "written", () => File.Move(from, to, overwrite: true));
    }

    /// <exception cref="BadInputException">Something is there.</exception>
    public static void RequireAbsent(string file)
    {
        if (Path.Exists(file) || new FileInfo(file).LinkTarget is not null)
            throw new BadInputException($"{file}: is there already, and is not written over; name another place, or move it away");
    }

    /// <exception cref="BadInputException">A link or a folder is there: a secret that Kubernetes mounts is renewed elsewhere.</exception>
    public static void RequireReplaceable(string file)
    {
        if (new FileInfo(file).LinkTarget is not null)
            throw new BadInputException($"{file}: is a link, as Kubernetes mounts secrets; renew what it leads to");
        if (Directory.Exists(file)) throw new BadInputException($"{file}: is a folder; a file is wanted");
    }

    /// <summary>Makes a folder for this user alone, unless it is there.</summary>
    /// <exception cref="BadInputException">It cannot be made.</exception>
    public static void CreateFolder(string folder)
    {
        if (File.Exists(folder)) throw new BadInputException($"{folder}: is a file; a folder is wanted");
        Try(folder, "made", () => Directory.CreateDirectory(folder, SecretFolder));
    }

    /// <exception cref="BadInputException">Everybody on this machine may look into a folder.</exception>
    public static void RequirePrivate(string folder)
    {
        if ((File.GetUnixFileMode(folder) & ForOthers) != UnixFileMode.None)
            throw new BadInputException($"{folder}: everybody on this machine may look into it; take their rights away with: "
                + $"chmod o= {folder}");
    }

    /// <exception cref="BadInputException">A key is missing, or others than its owner may use it.</exception>
    public static void RequireSecret(string key)
    {
        if (!File.Exists(key)) throw new BadInputException($"{key}: is missing");
        if ((File.GetUnixFileMode(key) & ~(Secret | UnixFileMode.UserExecute)) != UnixFileMode.None)
            throw new BadInputException($"{key}: others may use this key; take their rights away with: chmod 600 {key}");
    }

    /// <summary>Holds a lock until what is returned is disposed of: two processes must not write one index.</summary>
    /// <exception cref="BadInputException">Another process holds it.</exception>
    public static FileStream Lock(string file)
    {
        try
        {
            return new FileStream(file, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None, UnixCreateMode = Secret,
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // what is held answers EWOULDBLOCK
            throw new BadInputException(e is IOException { HResult: 11 }
                ? $"{file}: another process works in this folder; try again when it is done"
                : $"{file}: cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Does something with a file; what the disk says against it is told with the file's name.</summary>
    /// <exception cref="BadInputException">The disk says something against it.</exception>
    public static T Try<T>(string file, string what, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: cannot be {what}: {e.Message}", e);
        }
    }

    /// <summary>The same, of what has no result.</summary>
    /// <exception cref="BadInputException">The disk says something against it.</exception>
    public static void Try(string file, string what, Action action) => Try(file, what, () =>
    {
        action();
        return true;
    });

    private static string Read(string file, long largest)
    {
        using var opened = Open(file);
        return Try(file, "read", () =>
        {
            if (opened.Length > largest)
                throw new BadInputException($"{file}: is larger than {largest} bytes, which nothing is that belongs here");
            using var reader = new StreamReader(opened); // passes over a byte order mark
            return reader.ReadToEnd();
        });
    }

    private static void Write(string file, string text, UnixFileMode mode, bool overwrite)
    {
        var temporary = $"{file}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}.tmp";
        Try(file, "written", () =>
        {
            try
            {
                using (var made = new FileStream(temporary,
                    new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode }))
                {
                    using var writer = new StreamWriter(made);
                    writer.Write(text);
                    writer.Flush();
                    made.Flush(flushToDisk: true);
                }

                File.SetUnixFileMode(temporary, mode); // whatever the umask is
                File.Move(temporary, file, overwrite);
            }
            finally
            {
                File.Delete(temporary);
            }
        });
    }
}

using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// Files of mode 0600 with a token on their one line. Loopback does not tell the accounts of a machine apart: who may read the file may
/// use the control plane. Beside the operator's file lies the viewer's, whose token follows from the operator's.
/// </summary>
public static class TokenFiles
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const int TokenBytes = 32, LongestFile = 4096, ShortestToken = 32;
    private static readonly byte[] ViewerLabel = "fedrlora viewer"u8.ToArray();

    /// <summary>The viewer's file beside an operator's.</summary>
    public static string ViewerOf(string file) => file + ".viewer";

    /// <summary>Where the token of a port lies unless another file is named: in this user's own folder.</summary>
    /// <exception cref="BadInputException">The user has no home.</exception>
    public static string PathFor(int port) => Path.Combine(Folder(), string.Create(CultureInfo.InvariantCulture, $"{port}.token"));

    /// <summary>The operator's token of a file, which is made where it is not there; the viewer's file is put beside it.</summary>
    /// <exception cref="BadInputException">The file holds no token, others may read it, or it cannot be written.</exception>
    public static (string Operator, string Viewer) Ensure(string file)
    {
        var whole = Path.GetFullPath(file);
        if (Directory.Exists(whole)) throw new BadInputException($"{file}: is a folder; name a file for the control plane's token");
        try
        {
            if (Path.GetDirectoryName(whole) is { } folder && !Directory.Exists(folder))
                Directory.CreateDirectory(folder, Owner | UnixFileMode.UserExecute);
            if (!File.Exists(whole)) Put(whole, Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(TokenBytes)), replace: false);
            var token = Read(whole);
            var viewer = ViewerTokenOf(token);
            if (!File.Exists(ViewerOf(whole)) || Read(ViewerOf(whole)) != viewer) Put(ViewerOf(whole), viewer, replace: true);
            return (token, viewer);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: the control plane's token cannot be kept there: {e.Message}", e);
        }
    }

    /// <summary>The token of a file.</summary>
    /// <exception cref="BadInputException">It is missing, others than its owner may read it, or it holds no token.</exception>
    public static string Read(string file)
    {
        try
        {
            var mode = File.GetUnixFileMode(file);
            if ((mode & ~(Owner | UnixFileMode.UserExecute)) != UnixFileMode.None)
                throw new BadInputException($"{file}: others than its owner may read it; take their rights away with: chmod 600 {file}");
            if (new FileInfo(file).Length is 0 or > LongestFile) throw NoToken(file);
            var token = File.ReadAllText(file).Trim();
            return token.Length >= ShortestToken && token.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_')
                ? token
                : throw NoToken(file);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BadInputException($"{file}: is missing; name the file that the silo keeps its token in", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Takes an operator's file and the viewer's beside it away.</summary>
    public static void Remove(string file)
    {
        File.Delete(file);
        File.Delete(ViewerOf(file));
    }

    private static string ViewerTokenOf(string token) =>
        Base64Url.EncodeToString(HMACSHA256.HashData(Encoding.UTF8.GetBytes(token), ViewerLabel));

    private static BadInputException NoToken(string file) => new(
        $"{file}: holds no token (one line of {ShortestToken} letters, digits, dashes and underscores or more); "
        + "delete it, and the silo makes a new one");

    // Whole or not at all; where several silos make the same file, the first one's stays.
    private static void Put(string file, string token, bool replace)
    {
        var made = $"{file}.{Guid.NewGuid():n}";
        using (var stream = new FileStream(made, new FileStreamOptions
        {
            Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Owner,
        }))
        {
            stream.Write(Encoding.UTF8.GetBytes(token + "\n"));
            stream.Flush(flushToDisk: true);
        }

        try
        {
            File.Move(made, file, replace);
        }
        catch (IOException) when (!replace && File.Exists(file))
        {
            File.Delete(made);
        }
        catch
        {
            File.Delete(made); // a token lies nowhere but in its file
            throw;
        }
    }

    private static string Folder()
    {
        if (Environment.GetEnvironmentVariable("XDG_STATE_HOME") is { Length: > 0 } state && Path.IsPathRooted(state))
            return Path.Combine(state, "fedrlora", "control");
        return Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } home && Path.IsPathRooted(home)
            ? Path.Combine(home, ".local", "state", "fedrlora", "control")
            : throw new BadInputException("HOME is not set, so that there is no place for the control plane's token; "
                + "name a file for it with --control-token, or with --token-file where it is read");
    }
}

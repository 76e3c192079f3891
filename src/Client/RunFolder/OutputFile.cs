using System.Text;
using System.Text.RegularExpressions;
using FedRLora.Abstractions.Plans;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>
/// Files that people and other programs read. Each is written beside its place and moved into it: no reader, and no power cut, finds
/// half of one, and a hard link or a link at its place keeps what it names.
/// </summary>
internal static partial class OutputFile
{
    /// <summary>Puts a file in place of what is there.</summary>
    /// <param name="path">The file; its folder is there.</param>
    /// <param name="mode">Who may read it; null: whoever may read what this user makes.</param>
    /// <param name="write">Writes its content.</param>
    public static void Replace(string path, StoreMode? mode, Action<Stream> write)
    {
        var written = Beside(path);
        try
        {
            using (var stream = Create(written, mode))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(written, path, overwrite: true);
        }
        catch
        {
            File.Delete(written);
            throw;
        }
    }

    /// <inheritdoc cref="Replace(string, StoreMode?, Action{Stream})"/>
    public static async Task ReplaceAsync(string path, StoreMode? mode, Func<Stream, Task> write)
    {
        var written = Beside(path);
        try
        {
            await using (var stream = Create(written, mode))
            {
                await write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(written, path, overwrite: true);
        }
        catch
        {
            File.Delete(written);
            throw;
        }
    }

    /// <summary>Puts a text in place of what is there, in UTF-8.</summary>
    /// <inheritdoc cref="Replace(string, StoreMode?, Action{Stream})" path="/param"/>
    /// <param name="path"/>
    /// <param name="mode"/>
    /// <param name="text">The text.</param>
    public static void Replace(string path, StoreMode? mode, string text) =>
        Replace(path, mode, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    /// <summary>What processes that died have left half written, in bytes.</summary>
    /// <param name="folder">The folder; links in it are not followed.</param>
    /// <param name="remove">Whether it is deleted too.</param>
    public static long Leftovers(string folder, bool remove)
    {
        var all = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
        var left = new DirectoryInfo(folder).EnumerateFiles("*", all).Where(static file => HalfWritten().IsMatch(file.Name)).ToArray();
        var sizeBytes = left.Sum(static file => file.Length);
        foreach (var file in remove ? left : []) file.Delete();
        return sizeBytes;
    }

    [GeneratedRegex(@"^\..+\.[0-9a-f]{32}$")]
    private static partial Regex HalfWritten();

    private static string Beside(string path) =>
        Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, $".{Path.GetFileName(path)}.{Guid.NewGuid():n}");

    private static FileStream Create(string path, StoreMode? mode) => mode is { } known
        ? new FileStream(StorePermissions.Create(path, known), FileAccess.Write)
        : new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None);
}

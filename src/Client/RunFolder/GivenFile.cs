using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Client.RunFolder;

/// <summary>A file that was named with <c>--out</c>: there as a whole, or not at all.</summary>
internal static class GivenFile
{
    /// <summary>Puts what a stream brings in place of what is there, once all of it has come.</summary>
    /// <exception cref="BadInputException">It cannot be written.</exception>
    public static async Task WriteAsync(string path, StoreMode? mode, Stream content, CancellationToken cancellationToken)
    {
        if (Directory.Exists(path)) throw new BadInputException($"--out: {path} is a folder; name a file");
        try
        {
            await OutputFile.ReplaceAsync(path, mode, stream => content.CopyToAsync(stream, cancellationToken));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"--out: {path} cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Puts a text in place of what is there, in UTF-8.</summary>
    /// <exception cref="BadInputException">It cannot be written.</exception>
    public static async Task WriteAsync(string path, StoreMode? mode, string text, CancellationToken cancellationToken)
    {
        using var content = new MemoryStream(Encoding.UTF8.GetBytes(text), writable: false);
        await WriteAsync(path, mode, content, cancellationToken);
    }
}

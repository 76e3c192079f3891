using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Client.RunFolder;

/// <summary>A file that was named with <c>--out</c>: there as a whole, or not at all.</summary>
internal static class GivenFile
{
    private const int BlockChars = 1 << 16;

    /// <summary>Puts what is written in place of what is there, once all of it is; in UTF-8.</summary>
    /// <exception cref="BadInputException">It cannot be written.</exception>
    public static async Task WriteAsync(string path, StoreMode? mode, Func<TextWriter, Task> write)
    {
        if (Directory.Exists(path)) throw new BadInputException($"--out: {path} is a folder; name a file");
        try
        {
            await OutputFile.ReplaceAsync(path, mode, async stream =>
            {
                await using var writer = new StreamWriter(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
                    leaveOpen: true);
                await write(writer);
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"--out: {path} cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Writes what a stream brings, as it comes.</summary>
    public static async Task CopyToAsync(this Stream content, TextWriter target, CancellationToken cancellationToken)
    {
        using var reader = new StreamReader(content, Encoding.UTF8);
        var block = new char[BlockChars];
        while (await reader.ReadAsync(block, cancellationToken) is > 0 and var read)
            await target.WriteAsync(block.AsMemory(0, read), cancellationToken);
    }
}

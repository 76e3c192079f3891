using System.Runtime.CompilerServices;
using System.Text;

namespace FedRLora.Abstractions;

/// <summary>
/// Text files of a user. All of them are UTF-8, with or without a mark at the start: a byte of another charset is refused with its line,
/// never replaced, which would make one text of two that differ.
/// </summary>
public static class Utf8Text
{
    private const string PointerStart = "version https://git-lfs.github.com/";

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The text of a file.</summary>
    /// <exception cref="BadInputException">Not UTF-8.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static string Read(string path) => Encoding.UTF8.GetString(ReadBytes(path).Span);

    /// <summary>The bytes of a file's text, without the mark at its start.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public static ReadOnlyMemory<byte> ReadBytes(string path) => Check(File.ReadAllBytes(path), path);

    /// <summary>The same of bytes that were read already.</summary>
    /// <param name="bytes">All of a file.</param>
    /// <param name="path">What messages call it.</param>
    /// <exception cref="BadInputException">Not UTF-8.</exception>
    public static ReadOnlyMemory<byte> Check(ReadOnlyMemory<byte> bytes, string path)
    {
        RefuseWide(bytes.Span, path);
        if (bytes.Span.StartsWith(Encoding.ASCII.GetBytes(PointerStart))) throw IsPointer(path);
        if (!System.Text.Unicode.Utf8.IsValid(bytes.Span)) throw NotUtf8(bytes.Span, path, firstLine: 1);
        return bytes[(bytes.Span.StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0)..];
    }

    /// <summary>The lines of a file, without their ends; what follows the last one taken is not looked at.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public static async IAsyncEnumerable<string> ReadLinesAsync(
        string path, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // Each byte as one character, so that a line is a line before it is known what its bytes say.
        using var reader = new StreamReader(path, Encoding.Latin1, detectEncodingFromByteOrderMarks: false);
        for (var line = 1; await reader.ReadLineAsync(cancellationToken) is { } raw; line++) yield return Line(raw, path, line);
    }

    /// <summary>What stands in a working copy in the place of a large file that was not fetched.</summary>
    internal static BadInputException IsPointer(string path) =>
        new($"{path}: is a Git LFS pointer, not the file itself; fetch it with git lfs pull");

    private static string Line(string raw, string path, int line)
    {
        if (line == 1 && raw.StartsWith(PointerStart, StringComparison.Ordinal)) throw IsPointer(path);
        if (Ascii.IsValid(raw)) return raw;
        ReadOnlySpan<byte> bytes = Encoding.Latin1.GetBytes(raw);
        if (line == 1)
        {
            RefuseWide(bytes, path);
            if (bytes.StartsWith(Encoding.UTF8.Preamble)) bytes = bytes[Encoding.UTF8.Preamble.Length..];
        }

        return System.Text.Unicode.Utf8.IsValid(bytes) ? Strict.GetString(bytes) : throw NotUtf8(bytes, path, line);
    }

    private static void RefuseWide(ReadOnlySpan<byte> bytes, string path)
    {
        if (bytes.StartsWith(Encoding.Unicode.Preamble) || bytes.StartsWith(Encoding.BigEndianUnicode.Preamble))
            throw new BadInputException($"{path}:1: the file is UTF-16; save it as UTF-8");
    }

    private static BadInputException NotUtf8(ReadOnlySpan<byte> bytes, string path, int firstLine)
    {
        var at = 0;
        while (Rune.DecodeFromUtf8(bytes[at..], out _, out var length) == System.Buffers.OperationStatus.Done) at += length;
        var line = firstLine + bytes[..at].Count((byte)'\n');
        return new($"{path}:{line}: byte 0x{bytes[at]:X2} is not UTF-8; save the file as UTF-8");
    }
}

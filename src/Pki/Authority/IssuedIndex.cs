using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>
/// The index of an authority: a line for each certificate, however many. A line is on disk before its certificate is handed out, so that
/// a command that is cut off meanwhile leaves at most half a line at the end, of a certificate that nobody got. That half is told and
/// passed over, and the next line takes its place; anything else that is no record is damage.
/// </summary>
internal static class IssuedIndex
{
    private const int LongestLine = 1 << 20; // 64 names of 253 letters are far less

    /// <summary>The records in their order, read as they are asked for.</summary>
    /// <param name="file">The index.</param>
    /// <param name="tell">Takes a line about half a line at the end.</param>
    /// <exception cref="BadInputException">It cannot be read, or a line was changed.</exception>
    public static IEnumerable<IssuedCertificate> Read(string file, Action<string> tell)
    {
        using var opened = PkiFiles.Open(file);
        var isWhole = PkiFiles.Try(file, "read", () => EndsWhole(opened));
        using var reader = new StreamReader(opened);
        for (var number = 1; PkiFiles.Try(file, "read", reader.ReadLine) is { } line; number++)
        {
            if (line.Length == 0) continue;
            if (IssuedCertificate.Parse(line) is { } record) yield return record;
            else if (!isWhole && PkiFiles.Try(file, "read", () => reader.EndOfStream))
                tell($"{file}: ends with half a line, of a certificate that was not handed out; it is passed over");
            else throw Damaged(file, number);
        }
    }

    /// <summary>Adds a record; when this returns it is on disk. One that cannot be written leaves nothing.</summary>
    /// <param name="file">The index.</param>
    /// <param name="record">The record.</param>
    /// <param name="tell">Takes a line about half a line that was at the end.</param>
    /// <exception cref="BadInputException">It cannot be written.</exception>
    public static void Append(string file, IssuedCertificate record, Action<string> tell)
    {
        PkiFiles.RequireReplaceable(file);
        PkiFiles.Try(file, "written", () =>
        {
            using var opened = new FileStream(file,
                new FileStreamOptions { Mode = FileMode.Open, Access = FileAccess.ReadWrite, Share = FileShare.Read, BufferSize = 0 });
            var last = LastLine(file, opened);
            var end = opened.Length;
            var separator = "";
            if (last.Length > 0 && IssuedCertificate.Parse(last) is not null)
            {
                separator = "\n"; // all but the end of the line was written
            }
            else if (last.Length > 0)
            {
                end -= last.Length;
                tell($"{file}: ended with half a line, of a certificate that was not handed out; it was taken away");
            }

            try
            {
                opened.SetLength(end);
                opened.Position = end;
                opened.Write(Encoding.UTF8.GetBytes($"{separator}{record.ToLine()}\n"));
                opened.Flush(flushToDisk: true);
            }
            catch (IOException)
            {
                CutOff(opened, end);
                throw;
            }
        });
    }

    private static bool EndsWhole(FileStream opened)
    {
        if (opened.Length == 0) return true;
        opened.Position = opened.Length - 1;
        var isWhole = opened.ReadByte() == '\n';
        opened.Position = 0;
        return isWhole;
    }

    /// <summary>What stands behind the last end of a line; nothing where the file ends with one.</summary>
    private static byte[] LastLine(string file, FileStream opened)
    {
        var tail = new byte[(int)Math.Min(opened.Length, LongestLine)];
        opened.Position = opened.Length - tail.Length;
        opened.ReadExactly(tail);
        var at = tail.AsSpan().LastIndexOf((byte)'\n');
        return at >= 0 || tail.Length == opened.Length
            ? tail[(at + 1)..]
            : throw new BadInputException($"{file}: its last line is longer than {LongestLine} bytes, and no record of a certificate");
    }

    private static void CutOff(FileStream opened, long end)
    {
        try
        {
            opened.SetLength(end);
        }
        catch (IOException)
        {
            // half a line stays, which the next command takes away
        }
    }

    private static BadInputException Damaged(string file, int number) =>
        new($"{file}:{number}: is no record of a certificate: it was changed or cut off");
}

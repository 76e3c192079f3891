using System.Globalization;
using System.Runtime.InteropServices;

namespace FedRLora.Training.Inputs;

/// <summary>
/// What the file system says of a file's identity and age. Whoever writes into a file moves its ctime, which no program can set: a
/// file with the stamp that it had is the file that it was.
/// </summary>
/// <param name="Device">The file system.</param>
/// <param name="Inode">The file in it.</param>
/// <param name="SizeBytes">Its length.</param>
/// <param name="Modified">When its content was last written, in nanoseconds since 1970; programs can set it.</param>
/// <param name="Changed">When anything about it last changed, in nanoseconds since 1970.</param>
internal readonly partial record struct FileStamp(ulong Device, ulong Inode, long SizeBytes, long Modified, long Changed)
{
    private const int CurrentFolder = -100; // AT_FDCWD
    private const uint BasicStats = 0x7ff; // STATX_BASIC_STATS
    private const int StructSize = 256;

    /// <summary>What <see cref="KindOf"/> calls a file that holds bytes.</summary>
    public const string PlainFile = "a file";

    // struct statx has the same layout everywhere: it was made for that.

    /// <summary>The stamp of the file that a path leads to, through links; null where there is none, or the system does not say.</summary>
    public static unsafe FileStamp? Of(string path)
    {
        var result = stackalloc byte[StructSize];
        if (!Read(path, result)) return null;
        var device = ((ulong)*(uint*)(result + 136) << 32) | *(uint*)(result + 140);
        return new(device, *(ulong*)(result + 32), *(long*)(result + 40), Time(result + 112), Time(result + 96));
    }

    /// <summary>
    /// What a path leads to, through links, without opening it: a pipe would wait for a writer. Null as in <see cref="Of"/>.
    /// </summary>
    public static unsafe string? KindOf(string path)
    {
        var result = stackalloc byte[StructSize];
        return !Read(path, result) ? null : (*(ushort*)(result + 28) >> 12) switch
        {
            1 => "a pipe",
            2 or 6 => "a device",
            4 => "a folder",
            12 => "a socket",
            _ => PlainFile,
        };
    }

    /// <summary>As a line of a file and a key hold it.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Device} {Inode} {SizeBytes} {Modified} {Changed}");

    private static unsafe bool Read(string path, byte* result)
    {
        if (!OperatingSystem.IsLinux()) return false;
        try
        {
            return Statx(CurrentFolder, path, 0, BasicStats, result) == 0 && (*(uint*)result & BasicStats) == BasicStats;
        }
        catch (EntryPointNotFoundException)
        {
            return false; // a C library from before statx
        }
    }

    private static unsafe long Time(byte* at) => unchecked((*(long*)at * 1_000_000_000) + *(uint*)(at + 8));

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static unsafe partial int Statx(int folder, string path, int flags, uint mask, byte* result);
}

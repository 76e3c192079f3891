using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>System calls that .NET has nothing for.</summary>
internal static partial class FileSystem
{
    private const int ReadOnly = 0; // O_RDONLY
    private const int Folder = 0x10000; // O_DIRECTORY
    private const int CloseOnExec = 0x80000; // O_CLOEXEC

    /// <summary>Brings everything that was written to a file system to its disk: files, folders, renames.</summary>
    /// <param name="folder">A folder on it.</param>
    public static void Flush(string folder)
    {
        using var handle = Open(folder, ReadOnly | Folder | CloseOnExec, 0);
        if (handle.IsInvalid || SyncFs(handle) != 0) throw Failure(folder);
    }

    private static IOException Failure(string path)
    {
        var error = Marshal.GetLastPInvokeError();
        return new IOException($"{path}: {Marshal.GetPInvokeErrorMessage(error)}", error);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SyncFs(SafeFileHandle file);
}

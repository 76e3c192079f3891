using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>This machine's file system below one folder, with the permissions that a store's files and folders get.</summary>
internal sealed partial class LocalDisk : IDisk
{
    private const int OpenToRead = 0x80000; // O_RDONLY, O_CLOEXEC; O_DIRECTORY is another number on ARM, where this one is O_DIRECT
    private readonly string _root;
    private readonly StoreMode _mode;
    private readonly SafeFileHandle _held; // the system tells of a failed write only those who were there before it

    private LocalDisk(string root, StoreMode mode)
    {
        (_root, _mode) = (root, mode);
        _held = Hold();
    }

    /// <summary>The disk below a folder that is there.</summary>
    /// <param name="root">The folder.</param>
    /// <param name="mode">Who may use what is made.</param>
    public static IDisk Open(string root, StoreMode mode) => new LocalDisk(root, mode);

    /// <inheritdoc/>
    public void MakeFolder(string path) => StorePermissions.MakeFolder(path, _mode);

    /// <inheritdoc/>
    public IDiskFile Create(string path) => new LocalFile(StorePermissions.Create(path, _mode));

    /// <inheritdoc/>
    public void Rename(string from, string to) => File.Move(from, to, overwrite: true);

    /// <inheritdoc/>
    public void RenameFolder(string from, string to) => Directory.Move(from, to);

    /// <inheritdoc/>
    public void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (DirectoryNotFoundException)
        {
            // with its folder
        }
    }

    /// <inheritdoc/>
    public void DeleteFolder(string path) => Directory.Delete(path);

    /// <inheritdoc/>
    public void Flush()
    {
        Flush(_held);
        using var now = Hold(); // another file system may have been mounted there
        Flush(now);
    }

    /// <inheritdoc/>
    public void Dispose() => _held.Dispose();

    private SafeFileHandle Hold()
    {
        var handle = OpenFile(_root, OpenToRead);
        return handle.IsInvalid ? throw Failure() : handle;
    }

    private void Flush(SafeFileHandle folder)
    {
        if (SyncFileSystem(folder) != 0) throw Failure();
    }

    private IOException Failure()
    {
        var error = Marshal.GetLastPInvokeError();
        return new IOException($"{_root}: {Marshal.GetPInvokeErrorMessage(error)}", error);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial SafeFileHandle OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SyncFileSystem(SafeFileHandle file);

    private sealed class LocalFile(SafeFileHandle file) : IDiskFile
    {
        public DateTime LastWriteTimeUtc => File.GetLastWriteTimeUtc(file);

        public void Write(ReadOnlySpan<byte> bytes, long offset) => RandomAccess.Write(file, bytes, offset);

        public void Flush() => RandomAccess.FlushToDisk(file);

        public void Dispose() => file.Dispose();
    }
}

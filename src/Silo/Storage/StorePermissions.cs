using FedRLora.Abstractions.Plans;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Permissions of what belongs to a run: heads, optimizer states, plans, metrics. Its owner's alone, or also those of the group that
/// the folder above belongs to; nobody else's, whatever the umask.
/// </summary>
public static class StorePermissions
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode Group = UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    /// <summary>0600, or 0660.</summary>
    public static UnixFileMode OfFile(StoreMode mode) => mode == StoreMode.SharedGroup ? Owner | Group : Owner;

    /// <summary>0700, or 0770.</summary>
    public static UnixFileMode OfFolder(StoreMode mode) =>
        OfFile(mode) | UnixFileMode.UserExecute | (mode == StoreMode.SharedGroup ? UnixFileMode.GroupExecute : UnixFileMode.None);

    /// <summary>Who a store was made for, as the folder shows that every store makes in it; null where none was made.</summary>
    /// <param name="store">The store's folder.</param>
    public static StoreMode? ModeOf(string store)
    {
        var own = Path.Combine(store, DirectoryBlobStore.Temporary);
        if (!Directory.Exists(own)) return null;
        return File.GetUnixFileMode(own).HasFlag(UnixFileMode.GroupWrite) ? StoreMode.SharedGroup : StoreMode.Private;
    }

    /// <summary>Makes a folder whose parent is there; nothing happens where it is.</summary>
    public static void MakeFolder(string path, StoreMode mode)
    {
        if (Directory.Exists(path)) return;
        if (mode == StoreMode.Private)
        {
            Directory.CreateDirectory(path, OfFolder(mode));
            return;
        }

        // The umask may have taken the group's rights: they are given before another user can find the folder.
        var made = $"{path}.{Guid.NewGuid():n}";
        Directory.CreateDirectory(made, OfFolder(mode));
        File.SetUnixFileMode(made, OfFolder(mode) | (File.GetUnixFileMode(made) & UnixFileMode.SetGroup));
        try
        {
            Directory.Move(made, path);
        }
        catch (IOException) when (Directory.Exists(path))
        {
            Directory.Delete(made); // another process was first
        }
    }

    /// <summary>Makes a folder and those above it.</summary>
    public static void MakeFolders(string path, StoreMode mode)
    {
        if (Directory.Exists(path)) return;
        if (Path.GetDirectoryName(path) is { } above) MakeFolders(above, mode);
        MakeFolder(path, mode);
    }

    /// <summary>Makes a file where nothing is, open for writing and locked until it is closed.</summary>
    public static SafeFileHandle Create(string path, StoreMode mode)
    {
        var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 0, UnixCreateMode = OfFile(mode),
        });
        var handle = file.SafeFileHandle;
        if (mode == StoreMode.SharedGroup) File.SetUnixFileMode(handle, OfFile(mode)); // the umask may have taken the group's rights
        return handle;
    }
}

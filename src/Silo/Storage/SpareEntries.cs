using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Deleted files and folders of one store, emptied and kept to be used again. Every round deletes as many files as the next one
/// makes; a file system that must not hand out an inode again at once (ext4 without a journal looks at each one deleted within
/// the last seconds before it finds one) takes a millisecond for each otherwise. Nothing of a deleted blob stays readable. What
/// a process that died has left is removed by the next one.
/// </summary>
internal sealed class SpareEntries : IDisposable
{
    private const int MostFiles = 1 << 16;
    private readonly string _root;
    private readonly string _folder;
    private readonly FileStream _alive;
    private readonly ConcurrentStack<string> _files = new();
    private readonly ConcurrentStack<string> _folders = new();
    private long _next;

    /// <param name="root">The store's folder.</param>
    /// <param name="spare">Where the spare entries of all its processes lie, on the same file system.</param>
    public SpareEntries(string root, string spare)
    {
        _root = root;
        Directory.CreateDirectory(spare);
        foreach (var left in Directory.EnumerateDirectories(spare)) RemoveLeft(left);
        _folder = Path.Combine(spare, Guid.NewGuid().ToString("n"));
        _alive = new FileStream(LockOf(_folder), FileMode.CreateNew, FileAccess.Write, FileShare.None); // the system frees a dead one's lock
        Directory.CreateDirectory(_folder);
    }

    /// <summary>An empty file to be filled and moved to its place, open and locked; made if there is no spare one.</summary>
    public (SafeFileHandle File, string Path) TakeFile(string otherwise)
    {
        while (_files.TryPop(out var spare))
        {
            try
            {
                return (File.OpenHandle(spare, FileMode.Open, FileAccess.Write, FileShare.None), spare);
            }
            catch (IOException)
            {
                // somebody tidied up
            }
        }

        return (File.OpenHandle(otherwise, FileMode.CreateNew, FileAccess.Write, FileShare.None), otherwise);
    }

    /// <summary>Deletes a file; nothing happens where there is none.</summary>
    public void DeleteFile(string path)
    {
        if (_files.Count >= MostFiles)
        {
            if (File.Exists(path)) File.Delete(path);
            return;
        }

        var spare = Path.Combine(_folder, Interlocked.Increment(ref _next).ToString(CultureInfo.InvariantCulture));
        try
        {
            if (!File.Exists(path)) return;
            File.Move(path, spare, overwrite: true);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return;
        }

        try
        {
            using var file = File.OpenHandle(spare, FileMode.Open, FileAccess.Write, FileShare.None);
            RandomAccess.SetLength(file, 0);
        }
        catch (IOException)
        {
            File.Delete(spare); // somebody reads it still, and reads on
            return;
        }

        _files.Push(spare);
    }

    /// <summary>Makes a folder and those above it; nothing happens where it is.</summary>
    public void MakeFolder(string path)
    {
        if (_folders.TryPop(out var spare))
        {
            var above = Path.GetDirectoryName(path)!;
            if (!Directory.Exists(above)) Directory.CreateDirectory(above);
            try
            {
                Directory.Move(spare, path);
                return;
            }
            catch (IOException)
            {
                if (Directory.Exists(spare)) _folders.Push(spare); // another writer was first
            }
        }

        Directory.CreateDirectory(path);
    }

    /// <summary>Deletes a folder if it is empty and says whether it did.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="looksEmpty">Whether the caller has just emptied it.</param>
    public bool DeleteFolder(string path, bool looksEmpty)
    {
        // A spare folder's name says where it was: a blob that another process puts into it between the look and the move is put
        // back, by this process or, if it dies in that instant, by the next.
        var name = Path.GetRelativePath(_root, path).Replace(Path.DirectorySeparatorChar, '~');
        var spare = Path.Combine(_folder, name);
        try
        {
            if (name.Length > 255 || Directory.Exists(spare))
            {
                Directory.Delete(path);
                return true;
            }

            if (!looksEmpty && !IsEmpty(path)) return false;
            Directory.Move(path, spare);
        }
        catch (IOException)
        {
            return false; // not empty, or gone already
        }

        if (PutBack(spare)) return false;
        _folders.Push(spare);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _alive.Dispose();
        RemoveLeft(_folder);
    }

    private static string LockOf(string folder) => folder + ".lock";

    private void RemoveLeft(string left)
    {
        try
        {
            using var held = new FileStream(LockOf(left), FileMode.Open, FileAccess.Write, FileShare.None);
            foreach (var folder in Directory.EnumerateDirectories(left)) PutBack(folder);
            Directory.Delete(left, recursive: true);
            File.Delete(LockOf(left));
        }
        catch (IOException)
        {
            // its process lives, or another one removes it
        }
    }

    private bool PutBack(string spare)
    {
        if (IsEmpty(spare)) return false;
        var path = Path.Combine(_root, Path.GetFileName(spare).Replace('~', Path.DirectorySeparatorChar));
        Directory.CreateDirectory(path);
        foreach (var entry in new DirectoryInfo(spare).EnumerateFileSystemInfos())
        {
            var home = Path.Combine(path, entry.Name);
            if (entry is FileInfo file && !File.Exists(home)) file.MoveTo(home);
            else if (entry is DirectoryInfo folder && !Directory.Exists(home)) folder.MoveTo(home);
        }

        Directory.Delete(spare, recursive: true);
        return true;
    }

    private static bool IsEmpty(string folder) => !Directory.EnumerateFileSystemEntries(folder).Any();
}

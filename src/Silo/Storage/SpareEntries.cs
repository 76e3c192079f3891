using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace FedRLora.Silo.Storage;

/// <summary>
/// What one store has deleted, emptied and kept to be used again. Every round deletes as many files and folders as the next one
/// makes, and a file system may not hand out at once what was just deleted: ext4 without a journal looks at every inode of the
/// last seconds before it takes one, a millisecond for each file of a large cohort. Nothing of a deleted blob stays readable.
/// What a process that died has left is removed by the next one.
/// </summary>
internal sealed class SpareEntries : IDisposable
{
    private const string Lock = ".lock";
    private const int MostFiles = 1 << 16;
    private const int MostEntries = 64; // a folder keeps the blocks that its entries once needed
    private readonly Lazy<(string Path, FileStream Alive)> _folder; // made by the first that deletes
    private readonly ConcurrentStack<(Bundle From, string Path)> _files = new();
    private readonly ConcurrentQueue<string> _folders = new();
    private readonly ConcurrentQueue<string> _unwanted = new(); // folders whose last file may not have left yet
    private long _next;
    private int _kept; // files; the stack would count them one by one
    private long _made; // who deletes what others have written has no use for more files than it makes
    private int _keptFolders;
    private long _madeFolders; // nor for more folders

    /// <param name="spare">Where the spare entries of all processes of the store lie, on its file system.</param>
    public SpareEntries(string spare)
    {
        Directory.CreateDirectory(spare);
        foreach (var left in Directory.GetFileSystemEntries(spare).Select(FolderOf).Distinct()) RemoveLeft(left);
        _folder = new(() => Begin(spare));
    }

    /// <summary>An empty file to be filled and moved to its place, open and locked.</summary>
    /// <param name="otherwise">Where it is made if there is no spare one.</param>
    public (SafeFileHandle File, string Path) TakeFile(string otherwise)
    {
        while (_files.TryPop(out var spare))
        {
            Interlocked.Decrement(ref _kept);
            if (spare.From.TookOne()) Keep(spare.From); // empty as soon as this file is in its place
            try
            {
                return (File.OpenHandle(spare.Path, FileMode.Open, FileAccess.Write, FileShare.None), spare.Path);
            }
            catch (IOException)
            {
                Remove(spare.Path); // somebody tidied up, or holds it
            }
        }

        Interlocked.Increment(ref _made);
        return (File.OpenHandle(otherwise, FileMode.CreateNew, FileAccess.Write, FileShare.None), otherwise);
    }

    /// <summary>Makes a folder and those above it; nothing happens where it is.</summary>
    public void MakeFolder(string path)
    {
        if (_folders.TryDequeue(out var spare))
        {
            Interlocked.Decrement(ref _keptFolders);
            var above = Path.GetDirectoryName(path)!;
            if (!Directory.Exists(above)) Directory.CreateDirectory(above);
            try
            {
                if (IsEmpty(spare))
                {
                    Directory.Move(spare, path);
                    return;
                }
            }
            catch (IOException)
            {
                // another writer has made it, or somebody tidied up
            }

            if (Directory.Exists(spare)) Keep(spare);
        }

        Interlocked.Increment(ref _madeFolders);
        Directory.CreateDirectory(path);
    }

    /// <summary>Deletes a folder with all that is in it, for every reader at once; nothing happens where there is none.</summary>
    public void DeleteAll(string folder)
    {
        if (!Directory.Exists(folder)) return;
        string bundle;
        try
        {
            bundle = Next();
            Directory.Move(folder, bundle);
        }
        catch (IOException)
        {
            // Another process was first, or there is nowhere to move it: somebody tidied up, the disk is full.
            if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
            return;
        }

        try
        {
            Empty(bundle);
        }
        catch (DirectoryNotFoundException)
        {
            // somebody tidied up
        }

        RemoveUnwanted();
    }

    /// <summary>Whether a folder holds nothing.</summary>
    public static bool IsEmpty(string folder) => !Directory.EnumerateFileSystemEntries(folder).Any();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_folder.IsValueCreated) return;
        _folder.Value.Alive.Dispose();
        RemoveLeft(_folder.Value.Path);
    }

    private static (string, FileStream) Begin(string spare)
    {
        for (var attempt = 1; ; attempt++)
        {
            Directory.CreateDirectory(spare);
            var folder = Path.Combine(spare, Guid.NewGuid().ToString("n"));
            try
            {
                var alive = new FileStream(LockOf(folder), FileMode.CreateNew, FileAccess.Write, FileShare.None); // the system frees a dead one's lock
                if (File.Exists(LockOf(folder)))
                {
                    Directory.CreateDirectory(folder);
                    return (folder, alive);
                }

                alive.Dispose();
            }
            catch (IOException) when (attempt < 10)
            {
                // another process took it for a dead one's before it was locked
            }
        }
    }

    private string Next() => Path.Combine(_folder.Value.Path, Interlocked.Increment(ref _next).ToString(CultureInfo.InvariantCulture));

    private void Empty(string folder)
    {
        var files = new List<string>();
        var entries = new DirectoryInfo(folder).GetFileSystemInfos();
        foreach (var entry in entries)
        {
            if (entry is DirectoryInfo)
            {
                var inner = Next();
                Directory.Move(entry.FullName, inner);
                Empty(inner);
            }
            else if (Volatile.Read(ref _kept) + files.Count < Math.Min(MostFiles, Interlocked.Read(ref _made)) && Truncate(entry.FullName))
            {
                files.Add(entry.FullName);
            }
            else
            {
                File.Delete(entry.FullName);
            }
        }

        var bundle = new Bundle(folder, files.Count, large: entries.Length > MostEntries);
        Interlocked.Add(ref _kept, files.Count);
        foreach (var file in files) _files.Push((bundle, file));
        if (files.Count == 0) Keep(bundle);
    }

    private void Keep(Bundle emptied)
    {
        if (emptied.Large) _unwanted.Enqueue(emptied.Path);
        else Keep(emptied.Path);
    }

    private void Keep(string folder)
    {
        if (Interlocked.Increment(ref _keptFolders) <= Interlocked.Read(ref _madeFolders))
        {
            _folders.Enqueue(folder);
            return;
        }

        Interlocked.Decrement(ref _keptFolders);
        _unwanted.Enqueue(folder);
    }

    private void RemoveUnwanted()
    {
        for (var left = _unwanted.Count; left > 0 && _unwanted.TryDequeue(out var folder); left--)
        {
            try
            {
                Directory.Delete(folder);
            }
            catch (DirectoryNotFoundException)
            {
                // somebody tidied up
            }
            catch (IOException)
            {
                _unwanted.Enqueue(folder); // its last file is being written
            }
        }
    }

    private static void Remove(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (DirectoryNotFoundException)
        {
            // with its folder
        }
    }

    // Not if somebody reads it: he reads on what was there.
    private static bool Truncate(string path)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.None);
            RandomAccess.SetLength(file, 0);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static string LockOf(string folder) => folder + Lock;

    private static string FolderOf(string entry) => entry.EndsWith(Lock, StringComparison.Ordinal) ? entry[..^Lock.Length] : entry;

    private static void RemoveLeft(string left)
    {
        try
        {
            using var held = new FileStream(LockOf(left), FileMode.OpenOrCreate, FileAccess.Write, FileShare.None);
            if (Directory.Exists(left)) Directory.Delete(left, recursive: true);
            File.Delete(LockOf(left));
        }
        catch (IOException)
        {
            // its process lives, or another one removes it
        }
    }

    /// <summary>A deleted folder, whose files are taken one by one before it is taken itself.</summary>
    private sealed class Bundle(string path, int files, bool large)
    {
        private int _files = files;

        public string Path => path;

        public bool Large => large;

        /// <summary>Says whether it was the last.</summary>
        public bool TookOne() => Interlocked.Decrement(ref _files) == 0;
    }
}

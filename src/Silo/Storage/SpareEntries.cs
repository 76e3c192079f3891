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
    private const int MostFiles = 1 << 16;
    private readonly Lazy<(string Path, FileStream Alive)> _folder; // made by the first that deletes
    private readonly ConcurrentStack<(Bundle From, string Path)> _files = new();
    private readonly ConcurrentQueue<string> _folders = new();
    private long _next;
    private int _kept; // files; the stack would count them one by one
    private long _made; // who deletes what others have written has no use for more files than it makes

    /// <param name="spare">Where the spare entries of all processes of the store lie, on its file system.</param>
    public SpareEntries(string spare)
    {
        Directory.CreateDirectory(spare);
        foreach (var left in Directory.GetDirectories(spare)) RemoveLeft(left);
        _folder = new(() =>
        {
            var folder = Path.Combine(spare, Guid.NewGuid().ToString("n"));
            var alive = new FileStream(LockOf(folder), FileMode.CreateNew, FileAccess.Write, FileShare.None); // the system frees a dead one's lock
            Directory.CreateDirectory(folder);
            return (folder, alive);
        });
    }

    /// <summary>An empty file to be filled and moved to its place, open and locked.</summary>
    /// <param name="otherwise">Where it is made if there is no spare one.</param>
    public (SafeFileHandle File, string Path) TakeFile(string otherwise)
    {
        while (_files.TryPop(out var spare))
        {
            Interlocked.Decrement(ref _kept);
            if (spare.From.TookOne()) _folders.Enqueue(spare.From.Path); // empty as soon as this file is in its place
            try
            {
                return (File.OpenHandle(spare.Path, FileMode.Open, FileAccess.Write, FileShare.None), spare.Path);
            }
            catch (IOException)
            {
                // somebody tidied up
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
            catch (DirectoryNotFoundException)
            {
                Directory.CreateDirectory(path); // somebody tidied up
                return;
            }
            catch (IOException)
            {
                // another writer has made it
            }

            _folders.Enqueue(spare);
        }

        Directory.CreateDirectory(path);
    }

    /// <summary>Deletes a folder with all that is in it, for every reader at once; nothing happens where there is none.</summary>
    public void DeleteAll(string folder)
    {
        if (!Directory.Exists(folder)) return;
        var bundle = Next();
        try
        {
            Directory.Move(folder, bundle);
            Empty(bundle);
        }
        catch (DirectoryNotFoundException)
        {
            // Another process was first, or somebody tidied up and there is nowhere to move it.
            if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        }
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

    private string Next() => Path.Combine(_folder.Value.Path, Interlocked.Increment(ref _next).ToString(CultureInfo.InvariantCulture));

    private void Empty(string folder)
    {
        var files = new List<string>();
        foreach (var entry in new DirectoryInfo(folder).GetFileSystemInfos())
        {
            if (entry is DirectoryInfo)
            {
                var inner = Next();
                Directory.Move(entry.FullName, inner);
                Empty(inner);
            }
            else if (Volatile.Read(ref _kept) < Math.Min(MostFiles, Interlocked.Read(ref _made)) && Truncate(entry.FullName))
            {
                Interlocked.Increment(ref _kept);
                files.Add(entry.FullName);
            }
            else
            {
                File.Delete(entry.FullName);
            }
        }

        var bundle = new Bundle(folder, files.Count);
        foreach (var file in files) _files.Push((bundle, file));
        if (files.Count == 0) _folders.Enqueue(folder);
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

    private static string LockOf(string folder) => folder + ".lock";

    private static void RemoveLeft(string left)
    {
        try
        {
            using var held = new FileStream(LockOf(left), FileMode.Open, FileAccess.Write, FileShare.None);
            Directory.Delete(left, recursive: true);
            File.Delete(LockOf(left));
        }
        catch (IOException)
        {
            // its process lives, or another one removes it
        }
    }

    /// <summary>A deleted folder, whose files are taken one by one before it is taken itself.</summary>
    private sealed class Bundle(string path, int files)
    {
        private int _files = files;

        public string Path => path;

        /// <summary>Says whether it was the last.</summary>
        public bool TookOne() => Interlocked.Decrement(ref _files) == 0;
    }
}

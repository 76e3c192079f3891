using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>
/// A file that grows round by round and holds what its writer has added, whatever was there: what is there already stays, so that a program
/// which has it open goes on reading, and from the first byte that differs, or is half written, it is written anew. A link or a hard link
/// at its place keeps what it names. A power cut may take its end, which is put back as soon as the run goes on.
/// </summary>
internal sealed partial class GrowingFile(string path, StoreMode? mode)
{
    private const int WorkingFolder = -100, Links = 0x4, LinksAt = 16, StructSize = 256;

    private long _length; // of what was added
    private bool _isTaken;

    /// <summary>Adds what comes next.</summary>
    /// <exception cref="IOException">It cannot be written; another one of these is to write it from its beginning.</exception>
    public void Add(ReadOnlySpan<byte> content)
    {
        using var file = Open();
        file.Position = _length;
        if (file.Length < _length + content.Length || !IsNext(file, content))
        {
            file.SetLength(_length);
            file.Position = _length;
            file.Write(content);
        }

        _length += content.Length;
    }

    /// <summary>Ends the file where what was added ends.</summary>
    public void End()
    {
        using var file = Open();
        if (file.Length > _length) file.SetLength(_length);
    }

    private static bool IsNext(FileStream file, ReadOnlySpan<byte> content)
    {
        var there = new byte[content.Length];
        return file.ReadAtLeast(there, there.Length, throwOnEndOfStream: false) == there.Length && content.SequenceEqual(there);
    }

    private FileStream Open()
    {
        if (!_isTaken)
        {
            if (!IsOwn()) File.Delete(path);
            _isTaken = true;
        }

        if (_length == 0 && mode is { } known && !File.Exists(path)) StorePermissions.Create(path, known).Dispose();
        var file = new FileStream(
            path, _length == 0 ? FileMode.OpenOrCreate : FileMode.Open, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete,
            bufferSize: 0);
        if (file.Length >= _length) return file;
        file.Dispose();
        throw new IOException($"{path}: another process has shortened it");
    }

    // Nothing else has its content under another name. struct statx has the same layout everywhere: it was made for that.
    private unsafe bool IsOwn()
    {
        if (!File.Exists(path)) return true;
        var status = stackalloc byte[StructSize];
        return new FileInfo(path).LinkTarget is null
            && Statx(WorkingFolder, path, 0, Links, status) == 0 && *(uint*)(status + LinksAt) == 1;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static unsafe partial int Statx(int folder, string path, int flags, uint mask, byte* result);
}

namespace FedRLora.Silo.Storage;

/// <summary>
/// Everything that a folder store changes on a disk, and no more: a test puts a disk in its place that loses what was not flushed.
/// What is read is read from the files themselves. Paths are absolute.
/// </summary>
internal interface IDisk : IDisposable
{
    /// <summary>Makes a folder whose parent is there; nothing happens where it is.</summary>
    void MakeFolder(string path);

    /// <summary>Makes a file where nothing is; nobody else opens it until it is closed.</summary>
    IDiskFile Create(string path);

    /// <summary>Moves a file to its place, also over a file or a link that is there.</summary>
    void Rename(string from, string to);

    /// <summary>Moves a folder with all that is in it to where nothing is.</summary>
    void RenameFolder(string from, string to);

    /// <summary>Deletes a file, or a link and not what it names; nothing happens where neither is.</summary>
    void Delete(string path);

    /// <summary>Deletes an empty folder.</summary>
    /// <exception cref="IOException">It is not empty, or not there.</exception>
    void DeleteFolder(string path);

    /// <summary>Returns when everything that was changed so far will survive a power cut: files, names, folders.</summary>
    void Flush();
}

/// <summary>A file that is being filled; dispose it to close it.</summary>
internal interface IDiskFile : IDisposable
{
    /// <summary>When it was last written to.</summary>
    DateTime LastWriteTimeUtc { get; }

    /// <summary>Writes at an offset.</summary>
    void Write(ReadOnlySpan<byte> bytes, long offset);

    /// <summary>Returns when its content will survive a power cut; its name may not.</summary>
    void Flush();
}

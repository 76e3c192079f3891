using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>A disk that does what another one does, but for what a test overrides.</summary>
internal abstract class DiskDecorator(IDisk inner) : IDisk
{
    public virtual void MakeFolder(string path) => inner.MakeFolder(path);

    public virtual IDiskFile Create(string path) => inner.Create(path);

    public virtual void Rename(string from, string to) => inner.Rename(from, to);

    public virtual void RenameFolder(string from, string to) => inner.RenameFolder(from, to);

    public virtual void Delete(string path) => inner.Delete(path);

    public virtual void DeleteFolder(string path) => inner.DeleteFolder(path);

    public virtual void Flush() => inner.Flush();

    public void Dispose() => inner.Dispose();
}

/// <summary>A file of such a disk.</summary>
internal abstract class DiskFileDecorator(IDiskFile inner) : IDiskFile
{
    public DateTime LastWriteTimeUtc => inner.LastWriteTimeUtc;

    public virtual void Write(ReadOnlySpan<byte> bytes, long offset) => inner.Write(bytes, offset);

    public virtual void Flush() => inner.Flush();

    public void Dispose() => inner.Dispose();
}

using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>A disk that writes down what is done to it.</summary>
internal sealed class RecordingDisk(IDisk inner, string root, string name, DiskTrace trace) : DiskDecorator(inner)
{
    public override void MakeFolder(string path) => trace.Take(name, () => base.MakeFolder(path), new DiskStep.MakeFolder(In(path)));

    public override IDiskFile Create(string path)
    {
        var file = trace.NextFile();
        return new RecordingFile(trace.Take(name, () => base.Create(path), _ => new DiskStep.Create(In(path), file)), file, this, In(path));
    }

    public override void Rename(string from, string to) =>
        trace.Take(name, () => base.Rename(from, to), new DiskStep.Rename(In(from), In(to)));

    public override void RenameFolder(string from, string to) =>
        trace.Take(name, () => base.RenameFolder(from, to), new DiskStep.RenameFolder(In(from), In(to)));

    public override void Delete(string path) => trace.Take(name, () => base.Delete(path), new DiskStep.Delete(In(path)));

    public override void DeleteFolder(string path) => trace.Take(name, () => base.DeleteFolder(path), new DiskStep.DeleteFolder(In(path)));

    public override void Flush() => trace.Take(name, base.Flush, new DiskStep.Flush());

    private string In(string path) => Path.GetRelativePath(root, path);

    private sealed class RecordingFile(IDiskFile inner, int file, RecordingDisk disk, string path) : DiskFileDecorator(inner)
    {
        public override void Write(ReadOnlySpan<byte> bytes, long offset)
        {
            var copy = bytes.ToArray();
            disk.Trace.Take(disk.Name, () => base.Write(copy, offset), new DiskStep.Write(file, copy, offset));
        }

        public override void Flush() => disk.Trace.Take(disk.Name, base.Flush, new DiskStep.FlushFile(file, path));
    }

    private DiskTrace Trace => trace;

    private string Name => name;
}

namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>What a store did to its disk, one step; paths are relative to the store's folder.</summary>
internal abstract record DiskStep
{
    public sealed record MakeFolder(string Path) : DiskStep;

    public sealed record Create(string Path, int File) : DiskStep;

    public sealed record Write(int File, byte[] Bytes, long Offset) : DiskStep;

    public sealed record Rename(string From, string To) : DiskStep;

    public sealed record RenameFolder(string From, string To) : DiskStep;

    public sealed record Delete(string Path) : DiskStep;

    public sealed record DeleteFolder(string Path) : DiskStep;

    /// <summary>The content of one file was brought to the disk.</summary>
    public sealed record FlushFile(int File, string Path) : DiskStep;

    /// <summary>Everything was.</summary>
    public sealed record Flush : DiskStep;

    /// <summary>The world has seen that the job is committed up to a round: -1 that it was accepted.</summary>
    public sealed record Seen(int Round) : DiskStep;
}

/// <summary>Every step of one or more disks, in the order in which they happened.</summary>
internal sealed class DiskTrace
{
    private readonly Lock _gate = new();
    private readonly List<(string Disk, DiskStep Step)> _steps = [];
    private int _files;

    public IReadOnlyList<(string Disk, DiskStep Step)> Steps => _steps;

    /// <summary>Takes a step: what it does is done, and written down, before any other.</summary>
    public T Take<T>(string disk, Func<T> act, Func<T, DiskStep> step)
    {
        lock (_gate)
        {
            var result = act();
            _steps.Add((disk, step(result)));
            return result;
        }
    }

    /// <inheritdoc cref="Take{T}"/>
    public void Take(string disk, Action act, DiskStep step) => Take(disk, () => { act(); return true; }, _ => step);

    /// <summary>Writes down what the world has seen.</summary>
    public void See(int round) => Take("", static () => { }, new DiskStep.Seen(round));

    public int NextFile() => Interlocked.Increment(ref _files);
}

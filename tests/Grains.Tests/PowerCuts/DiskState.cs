namespace FedRLora.Grains.Tests.PowerCuts;

/// <summary>
/// What a disk holds when its power is cut, as a file system with a journal leaves it: names after some first part of the changes
/// since the last flush, in their order, and of each file what was flushed of it. What was not flushed is lost, whatever its name.
/// </summary>
internal sealed class DiskState
{
    private readonly Dictionary<int, byte[]> _written = [];
    private readonly Dictionary<int, byte[]> _flushed = [];
    private readonly List<DiskStep> _unflushed = []; // changes of names
    private readonly Names _names = new();

    /// <summary>Changes of names that a cut may keep or lose.</summary>
    public int Unflushed => _unflushed.Count;

    public void Take(DiskStep step)
    {
        switch (step)
        {
            case DiskStep.Write write:
                var before = _written.GetValueOrDefault(write.File, []);
                var content = new byte[Math.Max(before.Length, write.Offset + write.Bytes.Length)];
                before.CopyTo(content, 0);
                write.Bytes.CopyTo(content, write.Offset);
                _written[write.File] = content;
                break;
            case DiskStep.FlushFile flush:
                _flushed[flush.File] = _written.GetValueOrDefault(flush.File, []);
                break;
            case DiskStep.Flush:
                foreach (var (file, bytes) in _written) _flushed[file] = bytes;
                foreach (var change in _unflushed) _names.Take(change);
                _unflushed.Clear();
                break;
            case DiskStep.Seen or DiskStep.MakeFolder or DiskStep.DeleteFolder: // a folder without files is nothing to a store
                break;
            default:
                _unflushed.Add(step);
                break;
        }
    }

    /// <summary>
    /// The files after a cut that keeps the first <paramref name="kept"/> changes of names; a file that was not flushed is empty.
    /// </summary>
    public IReadOnlyDictionary<string, byte[]> Cut(int kept)
    {
        var names = _names.Copy();
        foreach (var change in _unflushed.Take(kept)) names.Take(change);
        return names.Files.ToDictionary(static name => name.Key, name => _flushed.GetValueOrDefault(name.Value, []));
    }

    /// <summary>The files without a cut.</summary>
    public IReadOnlyDictionary<string, byte[]> Whole()
    {
        var names = _names.Copy();
        foreach (var change in _unflushed) names.Take(change);
        return names.Files.ToDictionary(static name => name.Key, name => _written.GetValueOrDefault(name.Value, []));
    }

    private sealed class Names
    {
        public Dictionary<string, int> Files { get; private init; } = [];

        public Names Copy() => new() { Files = new(Files) };

        public void Take(DiskStep change)
        {
            switch (change)
            {
                case DiskStep.Create created:
                    Files[created.Path] = created.File;
                    break;
                case DiskStep.Rename renamed:
                    if (Files.Remove(renamed.From, out var file)) Files[renamed.To] = file;
                    break;
                case DiskStep.RenameFolder moved:
                    foreach (var name in Files.Keys.Where(name => IsIn(name, moved.From)).ToArray())
                    {
                        Files.Remove(name, out var inner);
                        Files[moved.To + name[moved.From.Length..]] = inner;
                    }

                    break;
                case DiskStep.Delete deleted:
                    Files.Remove(deleted.Path);
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(change), change, "This changes no name.");
            }
        }

        private static bool IsIn(string name, string folder) => name.StartsWith(folder + "/", StringComparison.Ordinal);
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Trackers;
using FedRLora.ControlPlane.Views;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>A folder that TensorBoard shows as a run: one event file, which grows with each round.</summary>
/// <param name="folder">The folder, made where it is not there.</param>
/// <param name="mode">Who may read it; null: whoever may read what this user makes.</param>
internal sealed class TensorBoardFile(string folder, StoreMode? mode)
{
    private readonly PointTimes _times = new();
    private GrowingFile? _file;

    /// <summary>Adds a round: the one after the last, or round 0.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Add(RoundView round)
    {
        var at = _times.Next(round);
        if (_file is null)
        {
            _file = Begin(at);
            _file.Add(EventFile.Start(at));
        }

        _file.Add(EventFile.Of(TrackerRound.Of(round, at)));
    }

    /// <summary>Ends the file where what was added ends.</summary>
    public void End() => _file?.End();

    private GrowingFile Begin(DateTimeOffset first)
    {
        if (mode is { } known) StorePermissions.MakeFolders(Path.GetFullPath(folder), known);
        else Directory.CreateDirectory(folder);
        var file = EventFile.NameOf(first);
        foreach (var other in Directory.EnumerateFiles(folder))
        {
            // of a run that was begun again: TensorBoard would read both
            if (Path.GetFileName(other) is var name && name != file && EventFile.IsName(name)) File.Delete(other);
        }

        return new GrowingFile(Path.Combine(folder, file), mode);
    }
}

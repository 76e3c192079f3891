namespace FedRLora.ControlPlane.Events;

/// <summary>Where a listener of several runs is in each: <c>A=ID;B=ID</c>, of the runs of which it is known.</summary>
public sealed class ManyPositions
{
    private readonly SortedDictionary<string, string> _ids = new(StringComparer.Ordinal);

    /// <summary>Reads what <see cref="ToString"/> wrote. The id of a single run's stream counts for every run: one knows it.</summary>
    /// <param name="text">The last event's id; null for a listener that knows nothing.</param>
    /// <param name="runs">The runs that it listens to.</param>
    public static ManyPositions Parse(string? text, IReadOnlyCollection<string> runs)
    {
        var positions = new ManyPositions();
        if (string.IsNullOrEmpty(text)) return positions;
        foreach (var part in text.Split(';'))
        {
            var named = part.Split('=', 2);
            foreach (var run in named.Length == 2 ? runs.Where(run => run == named[0]) : runs) positions._ids[run] = named[^1];
        }

        return positions;
    }

    /// <summary>The id of the last event of a run; null where none is known.</summary>
    public string? Of(string run) => _ids.GetValueOrDefault(run);

    /// <summary>The last event of a run has been told.</summary>
    public void Set(string run, string id) => _ids[run] = id;

    /// <summary>Nothing more comes of a run.</summary>
    public void Remove(string run) => _ids.Remove(run);

    /// <inheritdoc/>
    public override string ToString() => string.Join(';', _ids.Select(static one => $"{one.Key}={one.Value}"));
}

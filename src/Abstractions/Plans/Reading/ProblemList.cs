using System.Globalization;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Collects what is wrong, and remembers where every value stands and which could not be read.</summary>
internal sealed class ProblemList(string file)
{
    private readonly List<PlanProblem> _problems = [];
    private readonly Dictionary<string, Place> _places = new(StringComparer.Ordinal);
    private readonly HashSet<string> _unreadable = new(StringComparer.Ordinal);

    /// <summary>All problems, in the order of the file.</summary>
    public IReadOnlyList<PlanProblem> Sorted => [.. _problems.OrderBy(static p => p.Line).ThenBy(static p => p.Column)];

    public bool IsEmpty => _problems.Count == 0;

    public void Add(Place place, string path, string message) =>
        _problems.Add(new(file, place.Line, place.Column, path.Length == 0 ? message : $"{path}: {message}"));

    /// <summary>Adds a problem with a value, which the combination rules then leave alone.</summary>
    public void AddUnreadable(Place place, string path, string message)
    {
        _unreadable.Add(path);
        Add(place, path, message);
    }

    /// <summary>Adds a fault of the whole, unless it rests on a value that could not be read.</summary>
    public void Add(PlanFault fault)
    {
        if (fault.Paths.Any(IsUnreadable))
            return;
        var path = fault.Paths.FirstOrDefault(_places.ContainsKey) ?? fault.Paths[0];
        Add(PlaceOf(path), path, fault.Message);
    }

    /// <summary>Keeps the combination rules away from a value whose problem is reported elsewhere.</summary>
    public void MarkUnreadable(string path) => _unreadable.Add(path);

    public void Locate(string path, Place place) => _places[path] = place;

    public static string Join(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    public static string Item(string path, int index) => string.Create(CultureInfo.InvariantCulture, $"{path}[{index}]");

    public bool IsUnreadable(string path) => Chain(path).Any(_unreadable.Contains);

    /// <summary>Where the value stands, or the section that it is missing from.</summary>
    private Place PlaceOf(string path)
    {
        foreach (var candidate in Chain(path))
        {
            if (_places.TryGetValue(candidate, out var place))
                return place;
        }

        return Place.Start;
    }

    /// <summary>The path and the sections around it, innermost first.</summary>
    private static IEnumerable<string> Chain(string path)
    {
        yield return path;
        for (var cut = path.LastIndexOfAny(['.', '[']); cut > 0; cut = path.LastIndexOfAny(['.', '[']))
        {
            path = path[..cut];
            yield return path;
        }
    }
}

using System.Globalization;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Collects what is wrong, and remembers where every value stands and which could not be read.</summary>
internal sealed class ProblemList(string file)
{
    /// <summary>So many are enough: who made more made one mistake many times, or wants the reader to be busy.</summary>
    public const int Most = 100;

    private readonly List<PlanProblem> _problems = [];
    private readonly Dictionary<string, Place> _places = new(StringComparer.Ordinal);
    private readonly HashSet<string> _unreadable = new(StringComparer.Ordinal);

    /// <summary>All problems, in the order of the file.</summary>
    public IReadOnlyList<PlanProblem> Sorted =>
        [.. _problems.OrderBy(static p => p.Line).ThenBy(static p => p.Column), .. IsFull ? [AtLeast] : (PlanProblem[])[]];

    public bool IsEmpty => _problems.Count == 0;

    /// <exception cref="TooManyProblems">It was the last that is shown.</exception>
    public void Add(Place place, string path, string message)
    {
        _problems.Add(new(file, place.Line, place.Column, path.Length == 0 ? message : $"{BadInputException.Shown(path)}: {message}"));
        if (IsFull) throw new TooManyProblems();
    }

    /// <summary>Adds a problem with a value, which the combination rules then leave alone.</summary>
    public void AddUnreadable(Place place, string path, string message)
    {
        _unreadable.Add(path);
        Add(place, path, message);
    }

    /// <summary>Adds a conflict, unless it rests on a value that could not be read.</summary>
    public void Add(PlanConflict conflict)
    {
        if (conflict.Paths.Any(IsUnreadable))
            return;
        var path = conflict.Paths.FirstOrDefault(_places.ContainsKey) ?? conflict.Paths[0];
        Add(PlaceOf(path), path, conflict.Message);
    }

    /// <summary>Keeps the combination rules away from a value whose problem is reported elsewhere.</summary>
    public void MarkUnreadable(string path) => _unreadable.Add(path);

    public void Locate(string path, Place place) => _places[path] = place;

    public static string Join(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    public static string Item(string path, int index) => string.Create(CultureInfo.InvariantCulture, $"{path}[{index}]");

    public bool IsUnreadable(string path) => Chain(path).Any(_unreadable.Contains);

    private bool IsFull => _problems.Count >= Most;

    // At the end of the file that was read.
    private PlanProblem AtLeast => _problems.MaxBy(static p => (p.Line, p.Column))! with
    {
        Message = string.Create(CultureInfo.InvariantCulture, $"at least {Most} problems; the first are shown."),
    };

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

/// <summary>Reading stops here.</summary>
internal sealed class TooManyProblems : Exception;

using System.Globalization;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>
/// One mapping of the plan, read key by key: a value that is absent gives the fallback, a value that is wrong is reported and
/// gives the fallback too, and <see cref="Close"/> reports what nobody asked for.
/// </summary>
internal sealed partial class PlanSection
{
    private readonly MapNode _map;
    private readonly string _path;
    private readonly ProblemList _problems;
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _missing = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _refused = new(StringComparer.Ordinal);

    public PlanSection(MapNode map, string path, ProblemList problems)
    {
        (_map, _path, _problems) = (map, path, problems);
        if (path.Length > 0)
            problems.Locate(path, map.Place);
        foreach (var entry in map.Entries)
            problems.Locate(PathOf(entry.Key), entry.Value.Place);
    }

    public string PathOf(string key) => ProblemList.Join(_path, key);

    public bool Has(string key) => _map.Entries.Any(entry => entry.Key == key);

    /// <summary>All keys, where their names are the user's.</summary>
    public IEnumerable<string> Keys => _map.Entries.Select(static entry => entry.Key);

    /// <summary>Any value; null if the key is absent.</summary>
    public PlanNode? Node(string key)
    {
        _known.Add(key);
        return _map.Entries.FirstOrDefault(entry => entry.Key == key)?.Value;
    }

    /// <summary>Any value; reported if the key is absent.</summary>
    public PlanNode? Require(string key, string what)
    {
        var node = Node(key);
        if (node is null)
            _missing[key] = what;
        return node;
    }

    /// <summary>Keys that a later version may have.</summary>
    public void RefuseYet(params ReadOnlySpan<string> keys) => Refuse("not available in this version; remove it.", keys);

    /// <summary>A key that exists elsewhere but not in this version.</summary>
    public void Refuse(string why, params ReadOnlySpan<string> keys)
    {
        foreach (var key in keys)
            _refused[key] = why;
    }

    public int Integer(string key, int fallback, int min, int max) => OptionalInteger(key, min, max, optional: false) ?? fallback;

    /// <summary>An integer; null if the key is absent or its value is empty.</summary>
    public int? OptionalInteger(string key, int min, int max, bool optional = true)
    {
        var bound = Interval.Closed(min, max);
        if (Scalar(key, $"a number {bound}", optional) is not { } scalar)
            return null;
        if (scalar.Quoted || !long.TryParse(scalar.Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value))
            return Wrong<int?>(scalar, key, $"{Shown(scalar)} is not an integer; give a number {bound}.");
        return bound.Contains(value) ? (int)value : Wrong<int?>(scalar, key, $"{scalar.Value} is out of range; give a number {bound}.");
    }

    /// <summary>An integer; null if the key is absent or says <c>auto</c>.</summary>
    public int? IntegerOrAuto(string key, int min, int max)
    {
        const string Auto = "auto";
        var want = $"auto or a number {Interval.Closed(min, max)}";
        if (Scalar(key, want) is not { } scalar || scalar.Value == Auto)
            return null;
        if (scalar.Quoted || !long.TryParse(scalar.Value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value))
            return Wrong<int?>(scalar, key, $"{Shown(scalar)} is not {want}.");
        return value >= min && value <= max ? (int)value : Wrong<int?>(scalar, key, $"{scalar.Value} is out of range; give {want}.");
    }

    public ulong Unsigned(string key, ulong fallback)
    {
        var want = $"an integer from 0 to {ulong.MaxValue}";
        if (Scalar(key, want) is not { } scalar)
            return fallback;
        return !scalar.Quoted && ulong.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? value
            : Wrong(scalar, key, $"{Shown(scalar)} is not {want}.", fallback);
    }

    public double Number(string key, double fallback, Interval bound) =>
        Scalar(key, $"a number {bound}") is { } scalar ? NumberIn(scalar, PathOf(key), bound) ?? fallback : fallback;

    /// <summary>A number; null if the key is absent or its value is empty.</summary>
    public double? OptionalNumber(string key, Interval bound) =>
        Scalar(key, $"a number {bound}", optional: true) is { } scalar ? NumberIn(scalar, PathOf(key), bound) : null;

    public bool Flag(string key, bool fallback)
    {
        if (Scalar(key, "true or false") is not { } scalar)
            return fallback;
        return (scalar.Quoted ? "" : scalar.Value) switch
        {
            "true" or "True" or "TRUE" => true,
            "false" or "False" or "FALSE" => false,
            _ => Wrong(scalar, key, $"{Shown(scalar)} is not a flag; give true or false.", fallback),
        };
    }

    public T Choice<T>(string key, T fallback) where T : struct, Enum
    {
        if (Scalar(key, $"one of {string.Join(", ", Choices<T>())}") is not { } scalar)
            return fallback;
        foreach (var value in Enum.GetValues<T>())
        {
            if (scalar.Value.Equals(value.ToString(), StringComparison.OrdinalIgnoreCase))
                return value;
        }

        return Wrong(scalar, key, Unknown(scalar, Choices<T>()), fallback);
    }

    public string Name(string key, string fallback, IReadOnlyList<string> names)
    {
        if (Scalar(key, $"one of {string.Join(", ", names)}") is not { } scalar)
            return fallback;
        return names.Contains(scalar.Value) ? scalar.Value : Wrong(scalar, key, Unknown(scalar, names), fallback);
    }

    /// <summary>Text on one line.</summary>
    public string Text(string key, string fallback, int maxLength) =>
        Scalar(key, "text") is { } scalar ? TextOf(scalar, PathOf(key), maxLength) ?? fallback : fallback;

    /// <summary>Text on one line; null if the key is absent or its value is empty.</summary>
    public string? OptionalText(string key, int maxLength) =>
        Scalar(key, "text", optional: true) is { } scalar ? TextOf(scalar, PathOf(key), maxLength) : null;

    public string RequiredText(string key, string what, int maxLength) => Require(key, what) is null ? "" : Text(key, "", maxLength);

    public string RequiredIdentifier(string key, string what) => Require(key, what) is null ? "" : Identifier(key, "");

    /// <summary>What may stand in a key of a blob or a grain.</summary>
    public string Identifier(string key, string fallback)
    {
        if (Scalar(key, "a name") is not { } scalar)
            return fallback;
        return Identifiers.IsValid(scalar.Value)
            ? scalar.Value
            : Wrong(scalar, key, $"{Shown(scalar)} is not a name; use {Identifiers.Rule}.", fallback);
    }

    /// <summary>
    /// A time above zero, such as <c>30s</c>, <c>5m</c>, <c>2h</c> or <c>00:05:00</c>; null if the key is absent or its value is empty.
    /// </summary>
    public TimeSpan? Duration(string key, TimeSpan max)
    {
        const string Examples = "give a time such as 30s, 5m, 2h or 00:05:00";
        if (Scalar(key, "a time such as 30s, 5m, 2h or 00:05:00", optional: true) is not { } scalar)
            return null;
        if (ParseDuration(scalar.Value) is not { } value)
            return Wrong<TimeSpan?>(scalar, key, $"{Shown(scalar)} is not a time; {Examples}.");
        return value > TimeSpan.Zero && value <= max
            ? value
            : Wrong<TimeSpan?>(scalar, key, $"{scalar.Value} is out of range; {Examples}, above 0 and at most {max.TotalDays:0} days.");
    }

    /// <summary>A section; null if the key is absent or its value is empty.</summary>
    public PlanSection? Section(string key, string? shorthand = null)
    {
        switch (Node(key))
        {
            case null or ScalarNode { IsNull: true }:
                return null;
            case MapNode map:
                return new(map, PathOf(key), _problems);
            case ScalarNode scalar when shorthand is not null:
                return new(new(scalar.Place, [new(shorthand, scalar.Place, scalar)]), PathOf(key), _problems);
            case var other:
                return Wrong<PlanSection?>(other, key, $"{Shown(other)} is not a section; give keys with values below it.");
        }
    }

    /// <summary>
    /// What <paramref name="read"/> makes of a section, which is then closed; <paramref name="absent"/> if the key is absent, its value is
    /// empty or no section.
    /// </summary>
    public T Section<T>(string key, T absent, Func<PlanSection, T> read, string? shorthand = null) =>
        Section(key, shorthand) is { } section ? Closed(section, read) : absent;

    /// <summary>What <paramref name="read"/> makes of each item of a list, <paramref name="none"/> of one that is no section.</summary>
    /// <param name="key">The list's key.</param>
    /// <param name="example">What the list should be.</param>
    /// <param name="wrong">What an item is not, and what to give instead.</param>
    /// <param name="none">Stands for an item that is reported.</param>
    /// <param name="read">Reads a section.</param>
    public IReadOnlyList<T> Items<T>(string key, string example, string wrong, T none, Func<PlanSection, T> read) =>
    [
        .. List(key, example).Select((item, i) => item is MapNode map
            ? Closed(Item(map, ProblemList.Item(key, i)), read)
            : Wrong(item, ProblemList.Item(key, i), $"{Shown(item)} {wrong}", none)),
    ];

    private static T Closed<T>(PlanSection section, Func<PlanSection, T> read)
    {
        var result = read(section);
        section.Close();
        return result;
    }

    /// <summary>A section that is an item of a list.</summary>
    public PlanSection Item(MapNode map, string key) => new(map, PathOf(key), _problems);

    /// <summary>The items of a list; empty if the key is absent or its value is empty.</summary>
    public IReadOnlyList<PlanNode> List(string key, string example)
    {
        switch (Node(key))
        {
            case null or ScalarNode { IsNull: true }:
                return [];
            case ListNode list:
                for (var i = 0; i < list.Items.Count; i++)
                    _problems.Locate(ProblemList.Item(PathOf(key), i), list.Items[i].Place);
                return list.Items;
            case var other:
                return Wrong<IReadOnlyList<PlanNode>>(other, key, $"{Shown(other)} is not a list; give {example}.", []);
        }
    }

    /// <summary>Reports keys that nobody asked for and required keys that are missing. One misspelt required key is one problem.</summary>
    public void Close()
    {
        foreach (var entry in _map.Entries.Where(entry => !_known.Contains(entry.Key)))
        {
            if (_refused.TryGetValue(entry.Key, out var why))
            {
                _problems.AddUnreadable(entry.KeyPlace, PathOf(entry.Key), why);
                continue;
            }

            var nearest = Nearest.Of(entry.Key, _known.Where(key => !Has(key)));
            _problems.Add(
                entry.KeyPlace, PathOf(entry.Key),
                nearest is null ? $"unknown key; known here: {string.Join(", ", _known)}." : $"unknown key; did you mean {nearest}?");
            if (nearest is not null)
            {
                _missing.Remove(nearest);
                _problems.MarkUnreadable(PathOf(nearest));
            }
        }

        foreach (var (key, what) in _missing)
            _problems.AddUnreadable(_map.Place, PathOf(key), $"missing; give {what}.");
    }

    /// <summary>Whether a value, or what was probably meant by a misspelt key, could not be read.</summary>
    public bool IsUnreadable(string key) => _problems.IsUnreadable(PathOf(key));

    /// <summary>Keeps the combination rules away from the whole section.</summary>
    public void MarkUnreadable() => _problems.MarkUnreadable(_path);

    public T Wrong<T>(PlanNode node, string key, string message, T fallback = default!)
    {
        _problems.AddUnreadable(node.Place, PathOf(key), message);
        return fallback;
    }

    /// <summary>A finite number within <paramref name="bound"/>; null, and reported, otherwise.</summary>
    public double? NumberIn(ScalarNode scalar, string path, Interval bound)
    {
        if (scalar.Quoted || !double.TryParse(scalar.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var value)
            || !double.IsFinite(value))
            _problems.AddUnreadable(scalar.Place, path, $"{Shown(scalar)} is not a number; give a number {bound}.");
        else if (!bound.Contains(value))
            _problems.AddUnreadable(scalar.Place, path, $"{scalar.Value} is out of range; give a number {bound}.");
        else
            return value;
        return null;
    }

    /// <summary>Text on one line; null, and reported, otherwise.</summary>
    public string? TextOf(ScalarNode scalar, string path, int maxLength)
    {
        if (scalar.Value.Length > 0 && scalar.Value.Length <= maxLength && !string.IsNullOrWhiteSpace(scalar.Value)
            && !scalar.Value.Any(static sign => char.IsControl(sign) || sign is '\u2028' or '\u2029'))
            return scalar.Value;
        _problems.AddUnreadable(scalar.Place, path, $"{Shown(scalar)} cannot be used; give 1 to {maxLength} characters on one line.");
        return null;
    }

    public static string Unknown(ScalarNode given, IReadOnlyList<string> names)
    {
        var nearest = names.Count == 1 ? null : Nearest.Of(given.Value, names);
        var known = names.Count == 1 ? names[0] : $"one of {string.Join(", ", names)}";
        return $"{Shown(given)} is not known; {(nearest is null ? "give" : $"did you mean {nearest}? Give")} {known}.";
    }

    public static string Shown(PlanNode node) => node switch
    {
        ScalarNode { IsNull: true } => "an empty value",
        ScalarNode { Value.Length: > 60 } scalar => $"\"{Visible(scalar.Value[..57])}...\"",
        ScalarNode { Quoted: true } scalar when double.TryParse(scalar.Value, CultureInfo.InvariantCulture, out _) =>
            $"\"{Visible(scalar.Value)}\" in quotes",
        ScalarNode scalar => $"\"{Visible(scalar.Value)}\"",
        ListNode => "a list",
        _ => "a mapping",
    };

    private static string Visible(string text) =>
        string.Concat(text.Select(static c => char.IsControl(c) ? $"\\u{(int)c:x4}" : c.ToString()));

    private static List<string> Choices<T>() where T : struct, Enum =>
        [.. Enum.GetNames<T>().Select(static name => char.ToLowerInvariant(name[0]) + name[1..])];

    private ScalarNode? Scalar(string key, string want, bool optional = false)
    {
        switch (Node(key))
        {
            case null:
            case ScalarNode { IsNull: true } when optional:
                return null;
            case ScalarNode { IsNull: false } scalar:
                return scalar;
            case var other:
                return Wrong<ScalarNode?>(other, key, $"{Shown(other)} stands here; give {want}.");
        }
    }

    private static TimeSpan? ParseDuration(string text)
    {
        if (text.Contains(':', StringComparison.Ordinal))
            return TimeSpan.TryParseExact(text, ["c", @"h\:mm\:ss"], CultureInfo.InvariantCulture, out var span) ? span : null;
        var digits = text.TrimEnd("dhms".ToCharArray());
        double seconds = text[digits.Length..] switch { "ms" => 0.001, "s" => 1, "m" => 60, "h" => 3600, "d" => 86400, _ => double.NaN };
        return double.TryParse(
            digits, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var count)
            && Math.Abs(count * seconds) < 1e9
            ? TimeSpan.FromSeconds(count * seconds)
            : null;
    }
}

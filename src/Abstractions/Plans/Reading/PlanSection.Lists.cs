using System.Globalization;
using System.Text.RegularExpressions;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Values that are lists and mappings of their own.</summary>
internal sealed partial class PlanSection
{
    private const int MaxNameLength = 256;

    /// <summary>
    /// A list of distinct names; null if the key is absent. Where <paramref name="all"/> is given, a single word is allowed: that one
    /// for the empty list, any other for a regular expression.
    /// </summary>
    public (IReadOnlyList<string>? Names, string? Pattern) Names(string key, string what, string? all = null, string? forms = null)
    {
        switch (Node(key))
        {
            case null:
                return (null, null);
            case ScalarNode { IsNull: false } word when all is not null:
                if (word.Value == all)
                    return ([], null);
                if (!IsPattern(word.Value) || word.Value.IndexOfAny(['\\', '*', '+', '?', '(', '[', '{', '|', '^', '$']) < 0)
                    return (null, Wrong<string?>(word, key, $"{Shown(word)} is not a list and not a regular expression; give {forms}."));
                return (null, TextOf(word, PathOf(key), MaxNameLength));
            case ListNode list:
                return (NamesOf(list, key, what), null);
            case var other:
                return Wrong<(IReadOnlyList<string>?, string?)>(
                    other, key, $"{Shown(other)} stands here; give {forms ?? $"a list, each item the name of {what}"}.");
        }
    }

    private List<string> NamesOf(ListNode list, string key, string what)
    {
        var names = new List<string>();
        for (var i = 0; i < list.Items.Count; i++)
        {
            var item = ProblemList.Item(key, i);
            _problems.Locate(PathOf(item), list.Items[i].Place);
            if (list.Items[i] is not ScalarNode { IsNull: false } name)
                Wrong<string>(list.Items[i], item, $"{Shown(list.Items[i])} stands here; give the name of {what}.");
            else if (names.Contains(name.Value))
                Wrong<string>(name, item, $"{name.Value} is in the list already; remove it.");
            else if (TextOf(name, PathOf(item), MaxNameLength) is { } text)
                names.Add(text);
        }

        return names;
    }

    /// <summary>
    /// Labels as a list of names, or as a mapping from names to an answer or a list of answers; null if the key is absent.
    /// </summary>
    public IReadOnlyList<LabelSpec>? Labels(string key)
    {
        const string Forms =
            "a list such as [yes, no], or a mapping from labels to answers such as {positive: [good, fine], negative: bad}";
        switch (Node(key))
        {
            case null or ScalarNode { IsNull: true }:
                return null;
            case ListNode list:
                return [.. NamesOf(list, key, "a label").Select(static name => new LabelSpec(name, []))];
            case MapNode map:
                return [.. map.Entries.Select(entry => new LabelSpec(entry.Key, Answers(entry, ProblemList.Join(key, entry.Key))))];
            case var other:
                return Wrong<IReadOnlyList<LabelSpec>?>(other, key, $"{Shown(other)} stands here; give {Forms}.");
        }
    }

    private List<string> Answers(MapEntry label, string key) => label.Value switch
    {
        ListNode list => NamesOf(list, key, "an answer"),
        ScalarNode { IsNull: true } => [],
        ScalarNode scalar => TextOf(scalar, PathOf(key), MaxNameLength) is { } text ? [text] : [],
        _ => Wrong<List<string>>(label.Value, key, $"{Shown(label.Value)} stands here; give an answer or a list of answers.", []),
    };

    /// <summary>A list of distinct integers; null if the key is absent.</summary>
    public IReadOnlyList<int>? Integers(string key, int min, int max)
    {
        if (Node(key) is null)
            return null;
        var numbers = new List<int>();
        var items = List(key, $"a list of numbers {Interval.Closed(min, max)}");
        for (var i = 0; i < items.Count; i++)
        {
            var item = ProblemList.Item(key, i);
            if (items[i] is not ScalarNode { IsNull: false, Quoted: false } scalar
                || !int.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number < min
                || number > max)
                Wrong<int>(items[i], item, $"{Shown(items[i])} stands here; give an integer {Interval.Closed(min, max)}.");
            else if (numbers.Contains(number))
                Wrong<int>(scalar, item, $"{number} is in the list already; remove it.");
            else
                numbers.Add(number);
        }

        return numbers;
    }

    /// <summary>Names or regular expressions with a number each, in the file's order; null if the key is absent.</summary>
    public IReadOnlyList<KeyValuePair<string, T>>? Pairs<T>(string key, Interval bound, bool whole, Func<double, T> convert)
    {
        if (Node(key) is not { } node)
            return null;
        if (node is not MapNode map)
            return Wrong<IReadOnlyList<KeyValuePair<string, T>>?>(
                node, key, $"{Shown(node)} stands here; give a mapping such as {{down_proj: 4}}.");
        var pairs = new List<KeyValuePair<string, T>>();
        foreach (var (name, place, value) in map.Entries)
        {
            var path = ProblemList.Join(PathOf(key), name);
            if (!IsPattern(name))
                _problems.AddUnreadable(
                    place, path, $"{name} is not a valid regular expression; give the end of a layer's name, such as down_proj.");
            else if (value is not ScalarNode { IsNull: false } scalar)
                _problems.AddUnreadable(value.Place, path, $"{Shown(value)} stands here; give a number {bound}.");
            else if (NumberIn(scalar, path, bound) is { } number)
                Add(scalar, path, name, number);
        }

        return pairs;

        void Add(ScalarNode scalar, string path, string name, double number)
        {
            if (whole && number != Math.Floor(number))
                _problems.AddUnreadable(scalar.Place, path, $"{Shown(scalar)} is not an integer; give a number {bound}.");
            else
                pairs.Add(KeyValuePair.Create(name, convert(number)));
        }
    }

    private static bool IsPattern(string text)
    {
        try
        {
            _ = new Regex(text, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}

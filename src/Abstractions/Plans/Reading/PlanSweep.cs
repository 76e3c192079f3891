using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>A key of a plan with the values that it takes in turn.</summary>
/// <param name="Key">The key.</param>
/// <param name="Values">Its values, as YAML has them in one line.</param>
public sealed record SweptKey(string Key, IReadOnlyList<string> Values)
{
    /// <summary>Reads <c>adapter.rank=4,8</c>; values are those of a YAML list, so that a value may be a list itself.</summary>
    /// <param name="option">What the refusal calls the way in which it is given.</param>
    /// <param name="text">Key and values.</param>
    /// <exception cref="BadInputException">It is none, or has a value twice.</exception>
    public static SweptKey Parse(string option, string text)
    {
        var shown = BadInputException.Shown(text);
        if (text.Split('=', 2) is not [{ Length: > 0 } key, { Length: > 0 } list])
            throw new BadInputException($"{option} '{shown}' has no values; write for example adapter.rank=4,8.");
        var values = Items(list)
            ?? throw new BadInputException($"{option} '{shown}': the values are no YAML list; write for example adapter.rank=4,8.");
        if (values.GroupBy(static value => value, StringComparer.Ordinal).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{option} '{shown}': has the value {BadInputException.Shown(twice.Key)} twice; give it once.");
        return new(key, values);
    }

    // As they were written: 1e-3 is not 0.001 in a name.
    private static List<string>? Items(string list)
    {
        try
        {
            var stream = new YamlStream();
            var text = $"[{list}]";
            if (text.Contains('\n', StringComparison.Ordinal) || text.Contains('\r', StringComparison.Ordinal)) return null;
            stream.Load(new StringReader(text));
            if (stream.Documents is not [{ RootNode: YamlSequenceNode { Children.Count: > 0 } root }]) return null;
            var ends = new YamlEnds(text);
            if (ends.Of(root) != text.Length || root.Children.Any(item => ends.Of(item) is null)) return null;
            List<string> items = [.. root.Children.Select(item => text[(int)item.Start.Index..ends.Of(item)!.Value].Trim())];
            return items.All(PlanEdit.IsValue) ? items : null;
        }
        catch (YamlException)
        {
            return null;
        }
    }
}

/// <summary>One run of a sweep: a value for each swept key.</summary>
/// <param name="Name">Made of the values; may be a run's name, and no other run of the sweep has it.</param>
/// <param name="Values">The values by key, in the order of the keys.</param>
public sealed record SweptRun(string Name, IReadOnlyList<KeyValuePair<string, string>> Values)
{
    /// <summary>The most runs of a sweep.</summary>
    public const int Most = 1_000;

    /// <summary>Every combination of values, the last key's in turn first.</summary>
    /// <param name="keys">The keys.</param>
    /// <param name="longest">Characters of a name at most.</param>
    /// <exception cref="BadInputException">There are more than <see cref="Most"/>, or a key is given twice.</exception>
    public static IReadOnlyList<SweptRun> Of(IReadOnlyList<SweptKey> keys, int longest = Identifiers.MaxLength)
    {
        if (keys.GroupBy(static key => key.Key, StringComparer.Ordinal).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{BadInputException.Shown(twice.Key)} is swept twice; give all its values at once.");
        if (keys.Aggregate(1.0, static (count, key) => count * key.Values.Count) is > Most and var all)
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture, $"{all} runs are too many; the bound is {Most}."));
        var labels = Labels(keys);
        IEnumerable<IReadOnlyList<KeyValuePair<string, string>>> combinations = [[]];
        foreach (var key in keys)
        {
            combinations = [.. combinations.SelectMany(
                _ => key.Values, (before, value) => (IReadOnlyList<KeyValuePair<string, string>>)[.. before, new(key.Key, value)])];
        }

        var taken = new HashSet<string>(StringComparer.OrdinalIgnoreCase); // also where a disk folds case
        return [.. combinations.Select(values => new SweptRun(Free(NameOf(labels, values), longest, taken), values))];
    }

    // The last word of a key, or all of it where two end alike.
    private static List<string> Labels(IReadOnlyList<SweptKey> keys)
    {
        var last = keys.Select(static key => key.Key[(key.Key.LastIndexOf('.') + 1)..]).ToList();
        return last.Distinct(StringComparer.OrdinalIgnoreCase).Count() == last.Count ? last : [.. keys.Select(static key => key.Key)];
    }

    private static string NameOf(List<string> labels, IReadOnlyList<KeyValuePair<string, string>> values)
    {
        var name = string.Join('_', labels.Zip(values, static (label, value) => $"{label}-{value.Value}"));
        var plain = string.Concat(name.Select(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' ? c : '-'));
        return plain.TrimStart('.', '-') is { Length: > 0 } kept ? kept : "run";
    }

    private static string Free(string name, int longest, HashSet<string> taken)
    {
        for (var number = 1; ; number++)
        {
            var end = number == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $"-{number}");
            var candidate = name[..Math.Min(name.Length, longest - end.Length)] + end;
            if (taken.Add(candidate)) return candidate;
        }
    }
}

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
    private static List<string>? Items(string list) =>
        OneLine.Read($"[{list}]") is { Root: YamlSequenceNode { Children.Count: > 0 } root } line
            && root.Children.Select(line.TextOf).OfType<string>().ToList() is var items && items.Count == root.Children.Count
            ? items : null;
}

/// <summary>A variant of a plan under a name: several keys that change together.</summary>
/// <param name="Name">The name, which is part of the names of its runs.</param>
/// <param name="Values">Its values by key, as YAML has them in one line.</param>
public sealed record SweptArm(string Name, IReadOnlyList<KeyValuePair<string, string>> Values)
{
    private const string Example = "write for example 'local={adapter.method: lora, sharing: none}'.";

    /// <summary>Reads <c>local={adapter.method: lora, sharing: none}</c>.</summary>
    /// <param name="option">What the refusal calls the way in which it is given.</param>
    /// <param name="text">Name and values.</param>
    /// <exception cref="BadInputException">It is none, or has a key twice.</exception>
    public static SweptArm Parse(string option, string text)
    {
        var shown = BadInputException.Shown(text);
        if (text.Split('=', 2) is not [{ Length: > 0 } name, { Length: > 0 } mapping])
            throw new BadInputException($"{option} '{shown}' has no name or no values; {Example}");
        var values = Pairs(mapping)
            ?? throw new BadInputException($"{option} '{shown}': the values are no YAML mapping of one line; {Example}");
        return new(Identifiers.Check(option, name), values);
    }

    /// <summary>Refuses two of one name, also where a disk folds case.</summary>
    /// <exception cref="BadInputException">There are two.</exception>
    public static void RequireDistinct(string option, IEnumerable<SweptArm> arms)
    {
        var names = arms.GroupBy(static arm => arm.Name, StringComparer.OrdinalIgnoreCase);
        if (names.FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException(
                $"{option}: {string.Join(" and ", twice.Select(static arm => arm.Name))} are one name; give each its own.");
    }

    private static List<KeyValuePair<string, string>>? Pairs(string mapping)
    {
        if (OneLine.Read(mapping) is not { Root: YamlMappingNode root } line) return null;
        var pairs = new List<KeyValuePair<string, string>>();
        foreach (var (key, value) in root.Children)
        {
            if (key is not YamlScalarNode { Value: { Length: > 0 } name } || line.TextOf(value) is not { } text) return null;
            pairs.Add(new(name, text));
        }

        return pairs;
    }
}

/// <summary>A YAML value of one line with nothing behind it, whose parts are known as they were written.</summary>
internal sealed class OneLine
{
    private readonly string _text;
    private readonly YamlEnds _ends;

    private OneLine(string text, YamlNode root) => (_text, Root, _ends) = (text, root, new YamlEnds(text));

    public YamlNode Root { get; }

    /// <summary>Null where the text is none, also where a mapping has a key twice.</summary>
    public static OneLine? Read(string text)
    {
        try
        {
            var stream = new YamlStream();
            if (text.Contains('\n', StringComparison.Ordinal) || text.Contains('\r', StringComparison.Ordinal)) return null;
            stream.Load(new StringReader(text));
            return stream.Documents is [{ RootNode: var root }] && new OneLine(text, root) is var line && line._ends.Of(root) == text.Length
                ? line : null;
        }
        catch (YamlException)
        {
            return null;
        }
    }

    /// <summary>A part as it was written; null where it is no value that a plan's key can be set to.</summary>
    public string? TextOf(YamlNode part) =>
        _ends.Of(part) is { } end && _text[(int)part.Start.Index..end].Trim() is var text && PlanEdit.IsValue(text) ? text : null;
}

/// <summary>One run of a sweep: an arm, where there are any, and a value for each swept key.</summary>
/// <param name="Name">Made of arm and values; may be a run's name, and no other run of the sweep has it.</param>
/// <param name="Values">The values by key, in the order of the keys, without the arm's.</param>
/// <param name="Arm">The arm; null where the sweep has none.</param>
public sealed record SweptRun(string Name, IReadOnlyList<KeyValuePair<string, string>> Values, SweptArm? Arm = null)
{
    /// <summary>The most runs of a sweep.</summary>
    public const int Most = 1_000;

    private const string SeedKey = "seed";

    /// <summary>Tells apart what runs have in common that differ in their seed alone.</summary>
    public string GroupKey => string.Join(
        '\n',
        Values.Where(static value => value.Key != SeedKey).Select(static value => $"{value.Key}={value.Value}").Prepend(Arm?.Name ?? ""));

    /// <summary>What that is called: the name without the seed.</summary>
    public string Group => NameOf(Labels([.. Values.Select(static value => value.Key)]), Arm, Values, static key => key != SeedKey);

    /// <summary>The seed, where it is swept.</summary>
    public string? Seed => Values.Where(static value => value.Key == SeedKey).Select(static value => value.Value).FirstOrDefault();

    /// <summary>Every combination of arms and values, the last key's in turn first.</summary>
    /// <param name="keys">The keys.</param>
    /// <param name="arms">The arms; none for the plan alone.</param>
    /// <param name="longest">Characters of a name at most.</param>
    /// <exception cref="BadInputException">There are more than <see cref="Most"/>, or a key is given twice.</exception>
    public static IReadOnlyList<SweptRun> Of(
        IReadOnlyList<SweptKey> keys, IReadOnlyList<SweptArm>? arms = null, int longest = Identifiers.MaxLength)
    {
        if (keys.GroupBy(static key => key.Key, StringComparer.Ordinal).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{BadInputException.Shown(twice.Key)} is swept twice; give all its values at once.");
        SweptArm?[] variants = arms is { Count: > 0 } ? [.. arms] : [null];
        if (keys.Aggregate((double)variants.Length, static (count, key) => count * key.Values.Count) is > Most and var all)
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture, $"{all} runs are too many; the bound is {Most}."));
        var labels = Labels([.. keys.Select(static key => key.Key)]);
        IEnumerable<IReadOnlyList<KeyValuePair<string, string>>> combinations = [[]];
        foreach (var key in keys)
        {
            combinations = [.. combinations.SelectMany(
                _ => key.Values, (before, value) => (IReadOnlyList<KeyValuePair<string, string>>)[.. before, new(key.Key, value)])];
        }

        var taken = new HashSet<string>(StringComparer.OrdinalIgnoreCase); // also where a disk folds case
        return
        [
            .. variants.SelectMany(_ => combinations, (arm, values) => new SweptRun(
                Free(NameOf(labels, arm, values, static _ => true), longest, taken), values, arm)),
        ];
    }

    // The last word of a key, or all of it where two end alike.
    private static List<string> Labels(List<string> keys)
    {
        var last = keys.Select(static key => key[(key.LastIndexOf('.') + 1)..]).ToList();
        return last.Distinct(StringComparer.OrdinalIgnoreCase).Count() == last.Count ? last : keys;
    }

    private static string NameOf(
        List<string> labels, SweptArm? arm, IReadOnlyList<KeyValuePair<string, string>> values, Func<string, bool> counts)
    {
        IEnumerable<string> parts = labels.Zip(values).Where(one => counts(one.Second.Key))
            .Select(static one => $"{one.First}-{one.Second.Value}");
        var name = string.Join('_', arm is null ? parts : parts.Prepend(arm.Name));
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

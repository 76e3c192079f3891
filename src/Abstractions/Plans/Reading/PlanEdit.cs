using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Sets one value in a plan's text and leaves everything else, comments too, as it was.</summary>
public static class PlanEdit
{
    // A section that may be written as one of its values, as in "adapter: lora".
    internal static readonly Dictionary<string, string> Shorthands = new(StringComparer.Ordinal)
    {
        ["adapter"] = "method", ["model"] = "path", ["strategy.aggregation"] = "rule", ["strategy.selection"] = "rule",
        ["strategy.serverOptimizer"] = "rule", ["strategy.trigger"] = "rule",
    };

    /// <summary>
    /// The text with <paramref name="path"/>, such as <c>seed</c>, <c>strategy.rounds</c> or <c>clients[0].data.rows</c>, set to a
    /// value as YAML has it in one line; null where its layout does not let it.
    /// </summary>
    public static string? Set(string yaml, string path, string value)
    {
        if (Value(value) is not { } node || Keys(path) is not { } keys || Root(yaml) is not { } root) return null;
        // Braces around it may make commas its end.
        string[] forms = node is YamlScalarNode { Style: ScalarStyle.Plain }
            ? [value, $"'{value.Replace("'", "''", StringComparison.Ordinal)}'"]
            : [value];
        return forms.Select(form => Edit(yaml, root, keys, form, ""))
            .FirstOrDefault(edited => edited is not null && Root(edited) is { } after && node.Equals(Find(after, keys)));
    }

    /// <summary>As <see cref="Set"/>.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="path">The key.</param>
    /// <param name="value">Its value.</param>
    /// <param name="source">What the refusal calls the text.</param>
    /// <exception cref="BadInputException">The layout does not let it.</exception>
    public static string Require(string yaml, string path, string value, string source) => Set(yaml, path, value)
        ?? throw new BadInputException($"{source}: {BadInputException.Shown(path)}: {BadInputException.Shown(value)} "
            + "cannot be set in this layout; write the value into the plan by hand.");

    /// <summary>Whether a text is one YAML value of one line, with nothing behind it.</summary>
    public static bool IsValue(string text) => Value(text) is not null;

    private static string? Edit(string yaml, YamlNode node, ReadOnlySpan<string> keys, string value, string path)
    {
        if (node is YamlSequenceNode list)
        {
            if (IndexOf(keys[0]) is not { } index || index >= list.Children.Count) return null;
            var item = list.Children[index];
            return keys.Length > 1 ? Edit(yaml, item, keys[1..], value, $"{path}{keys[0]}") : Replace(yaml, item, value);
        }

        if (node is not YamlMappingNode map || IndexOf(keys[0]) is not null) return null;
        var key = new YamlScalarNode(keys[0]);
        if (!map.Children.TryGetValue(key, out var child))
            return keys.Length > 1 && IsMerged(map, keys[0]) ? null // a new section would hide the merged one
                : Insert(yaml, map, keys, value);
        var own = path.Length == 0 ? keys[0] : $"{path}.{keys[0]}";
        return (child, keys.Length) switch
        {
            (YamlScalarNode scalar, 1) => Replace(yaml, scalar, value),
            (YamlSequenceNode { Style: SequenceStyle.Block } or YamlMappingNode { Style: MappingStyle.Block }, 1) =>
                ReplaceBlock(yaml, map.Children.Keys.First(one => one.Equals(key)), child, value),
            (_, 1) => Replace(yaml, child, value),
            (YamlScalarNode scalar, _) => Flow(keys[1..], value) is not { } inner ? null
                : IsNull(scalar) ? Replace(yaml, scalar, $"{{{inner}}}")
                : Shorthands.TryGetValue(own, out var shorthand)
                    ? Replace(yaml, scalar, $"{{{shorthand}: {Text(yaml, scalar)}, {inner}}}")
                    : null,
            _ => Edit(yaml, child, keys[1..], value, own),
        };
    }

    private static string Text(string yaml, YamlNode node) => yaml[(int)node.Start.Index..(int)node.End.Index];

    private static bool IsNull(YamlScalarNode scalar) => scalar is { Style: ScalarStyle.Plain, Value: null or "" or "~" or "null" };

    private static string? Replace(string yaml, YamlNode node, string value) => new YamlEnds(yaml).Of(node) is { } end
        ? string.Concat(yaml.AsSpan(0, (int)node.Start.Index), node.Start.Index == end ? " " + value : value, yaml.AsSpan(end))
        : null;

    // From behind the key's colon, so that the indentation of what was there does not matter.
    private static string? ReplaceBlock(string yaml, YamlNode key, YamlNode node, string value)
    {
        var colon = yaml.IndexOf(':', (int)key.End.Index);
        return colon >= 0 && new YamlEnds(yaml).Of(node) is { } end && end > colon
            ? string.Concat(yaml.AsSpan(0, colon + 1), " " + value, yaml.AsSpan(end))
            : null;
    }

    private static string? Insert(string yaml, YamlMappingNode map, ReadOnlySpan<string> keys, string value)
    {
        if (Flow(keys, value) is not { } flow) return null;
        if (map.Style == MappingStyle.Flow)
        {
            var inside = (int)map.Start.Index + 1;
            return yaml.Insert(inside, map.Children.Count == 0 ? flow : flow + ", ");
        }

        if (map.Children.Count == 0) return null;
        var first = map.Children.Keys.First().Start;
        var indent = new string(' ', (int)first.Column - 1);
        return yaml.Insert((int)first.Index, $"{flow}\n{indent}");
    }

    // For example a: {b: 1}; null where an item of a list would have to be made.
    private static string? Flow(ReadOnlySpan<string> keys, string value)
    {
        var flow = value;
        for (var index = keys.Length - 1; index >= 0; index--)
        {
            if (IndexOf(keys[index]) is not null) return null;
            flow = $"{keys[index]}: {(index == keys.Length - 1 ? flow : $"{{{flow}}}")}";
        }

        return flow;
    }

    private static bool IsMerged(YamlMappingNode map, string key) => map.Children.TryGetValue(new YamlScalarNode("<<"), out var merged)
        && (merged is YamlSequenceNode list ? list.Children : [merged]).OfType<YamlMappingNode>()
            .Any(source => source.Children.ContainsKey(new YamlScalarNode(key)) || IsMerged(source, key));

    private static YamlNode? Find(YamlNode node, ReadOnlySpan<string> keys) => keys.Length == 0 ? node
        : node is YamlSequenceNode list && IndexOf(keys[0]) is { } index
            ? index < list.Children.Count ? Find(list.Children[index], keys[1..]) : null
        : node is YamlMappingNode map && map.Children.TryGetValue(new YamlScalarNode(keys[0]), out var child) ? Find(child, keys[1..])
        : null;

    // clients[0].data is clients, [0] and data; null where a part of it is no key.
    private static string[]? Keys(string path)
    {
        string[] keys = [.. path.Split('.').SelectMany(static part => part.Replace("[", "\n[", StringComparison.Ordinal).Split('\n'))];
        return keys.All(static key => key.Length > 0 && (IndexOf(key) is not null || key.All(static letter =>
            char.IsLetterOrDigit(letter) || letter is '-' or '_' or '/'))) ? keys : null;
    }

    private static int? IndexOf(string key) => key is ['[', .. var digits, ']']
        && int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var index) ? index : null;

    private static YamlNode? Value(string text)
    {
        var line = $"value: {text}";
        return !text.Contains('\n', StringComparison.Ordinal) && !text.Contains('\r', StringComparison.Ordinal)
            && Root(line) is { Children.Count: 1 } map && Find(map, ["value"]) is { } node
            && new YamlEnds(line).Of(node) == line.TrimEnd().Length ? node : null;
    }

    private static YamlMappingNode? Root(string yaml)
    {
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(yaml));
            return stream.Documents.Count == 1 ? stream.Documents[0].RootNode as YamlMappingNode : null;
        }
        catch (YamlException)
        {
            return null;
        }
    }
}

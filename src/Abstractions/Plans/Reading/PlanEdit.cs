using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Sets one value in a plan's text and leaves everything else, comments too, as it was.</summary>
public static class PlanEdit
{
    /// <summary>
    /// The text with <paramref name="path"/>, such as <c>seed</c> or <c>strategy.rounds</c>, set to a scalar;
    /// null where its layout does not let it.
    /// </summary>
    public static string? Set(string yaml, string path, string value)
    {
        var keys = path.Split('.');
        if (Root(yaml) is not { } root) return null;
        var edited = Edit(yaml, root, keys, value);
        return edited is not null && Root(edited) is { } after && Find(after, keys) is YamlScalarNode found && found.Value == Scalar(value)
            ? edited : null;
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

    /// <summary>The text with a value set that is given as <c>training.learningRate=1e-3</c>.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="assignment">Key and value.</param>
    /// <param name="source">What the refusal calls the text.</param>
    /// <exception cref="BadInputException">It is no assignment, or the layout does not let it.</exception>
    public static string Assign(string yaml, string assignment, string source) =>
        assignment.Split('=', 2) is [{ Length: > 0 } path, { Length: > 0 } value]
            ? Require(yaml, path, value, source)
            : throw new BadInputException($"'{BadInputException.Shown(assignment)}' sets nothing; "
                + "write for example training.learningRate=1e-3.");

    private static string? Edit(string yaml, YamlMappingNode map, ReadOnlySpan<string> keys, string value)
    {
        if (!map.Children.TryGetValue(new YamlScalarNode(keys[0]), out var child))
            return keys.Length > 1 && IsMerged(map, keys[0]) ? null // a new section would hide the merged one
                : Insert(yaml, map, keys, value);
        return (child, keys.Length) switch
        {
            (YamlMappingNode inner, > 1) => Edit(yaml, inner, keys[1..], value),
            (YamlScalarNode scalar, 1) => string.Concat(yaml.AsSpan(0, (int)scalar.Start.Index),
                scalar.Start.Index == scalar.End.Index ? " " + value : value, yaml.AsSpan((int)scalar.End.Index)),
            _ => null, // a shorthand such as "adapter: lora" has no place for more
        };
    }

    private static string? Insert(string yaml, YamlMappingNode map, ReadOnlySpan<string> keys, string value)
    {
        if (keys.Length > 2) return null;
        var flow = keys.Length == 2 ? $"{keys[0]}: {{{keys[1]}: {value}}}" : $"{keys[0]}: {value}";
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

    private static bool IsMerged(YamlMappingNode map, string key) => map.Children.TryGetValue(new YamlScalarNode("<<"), out var merged)
        && (merged is YamlSequenceNode list ? list.Children : [merged]).OfType<YamlMappingNode>()
            .Any(source => source.Children.ContainsKey(new YamlScalarNode(key)) || IsMerged(source, key));

    private static YamlNode? Find(YamlNode node, ReadOnlySpan<string> keys) => keys.Length == 0 ? node
        : node is YamlMappingNode map && map.Children.TryGetValue(new YamlScalarNode(keys[0]), out var child) ? Find(child, keys[1..])
        : null;

    private static string? Scalar(string value) =>
        Root(string.Create(CultureInfo.InvariantCulture, $"value: {value}")) is { } map && Find(map, ["value"]) is YamlScalarNode scalar
            ? scalar.Value : null;

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

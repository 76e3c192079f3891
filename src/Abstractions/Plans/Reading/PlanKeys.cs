using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>
/// What a plan's text says, key by key, however it is laid out: two plans that say the same have the same keys and values.
/// </summary>
public static class PlanKeys
{
    private const int MaxDepth = 8; // of a plan

    /// <summary>
    /// The values by key, such as <c>training.steps</c>; a list that has names in it by name, such as <c>clients[north-1].task</c>.
    /// </summary>
    /// <param name="yaml">The text of a plan that was read.</param>
    public static IReadOnlyDictionary<string, string> Of(string yaml)
    {
        var values = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var stream = new YamlStream();
        stream.Load(new StringReader(yaml));
        if (stream.Documents is [{ RootNode: YamlMappingNode root }, ..]) Add(root, "", 0);
        return values;

        void Add(YamlNode node, string path, int depth)
        {
            switch (node)
            {
                case YamlMappingNode map when depth < MaxDepth:
                    foreach (var (key, child) in Entries(map)) Add(child, path.Length == 0 ? key : $"{path}.{key}", depth + 1);
                    break;
                case YamlSequenceNode list when list.Children.Count > 0 && list.Children.All(static item => IdOf(item) is not null):
                    foreach (var item in list.Children) Add(item, $"{path}[{IdOf(item)}]", depth + 1);
                    break;
                case YamlScalarNode when PlanEdit.Shorthands.TryGetValue(path, out var shorthand):
                    values[$"{path}.{shorthand}"] = Text(node);
                    break;
                default:
                    values[path] = Text(node);
                    break;
            }
        }
    }

    private static string? IdOf(YamlNode node) => node is YamlMappingNode map
        && map.Children.TryGetValue(new YamlScalarNode("id"), out var id) && id is YamlScalarNode { Value: { } name } ? name : null;

    // A key of the mapping itself counts before a merged one, an earlier mapping of a list before a later.
    private static Dictionary<string, YamlNode> Entries(YamlMappingNode map)
    {
        var entries = new Dictionary<string, YamlNode>(StringComparer.Ordinal);
        foreach (var (key, value) in map.Children)
        {
            if (key is YamlScalarNode { Value: { } name } && name != "<<") entries[name] = value;
        }

        if (!map.Children.TryGetValue(new YamlScalarNode("<<"), out var merged)) return entries;
        foreach (var source in (merged is YamlSequenceNode list ? list.Children : [merged]).OfType<YamlMappingNode>())
        {
            foreach (var (key, value) in Entries(source)) entries.TryAdd(key, value);
        }

        return entries;
    }

    private static string Text(YamlNode node) => node switch
    {
        YamlScalarNode { Style: ScalarStyle.Plain, Value: null or "" or "~" } => "null",
        YamlScalarNode scalar => scalar.Value ?? "null",
        YamlSequenceNode list => $"[{string.Join(", ", list.Children.Select(Text))}]",
        YamlMappingNode map => $"{{{string.Join(", ", Entries(map).Select(static one => $"{one.Key}: {Text(one.Value)}"))}}}",
        _ => node.ToString(),
    };
}

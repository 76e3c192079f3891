namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>How a rule is read that a plan names.</summary>
/// <param name="Read">From the section of its values; null where none stands.</param>
/// <param name="Shorthand">The value that may stand alone behind the name; null where the name has none.</param>
internal sealed record RuleReader<T>(Func<PlanSection?, T> Read, string? Shorthand = null);

/// <summary>Rules with values: a name, or a mapping from the name to its values.</summary>
internal sealed partial class PlanSection
{
    /// <summary>A rule; <paramref name="fallback"/> if the key is absent.</summary>
    public T Rule<T>(string key, IReadOnlyDictionary<string, RuleReader<T>> rules, T fallback) => Node(key) switch
    {
        null => fallback,
        var node => RuleOf(node, this, key, rules, fallback),
    };

    /// <summary>Rules in a list; <paramref name="fallback"/> if the key is absent.</summary>
    public IReadOnlyList<T> Rules<T>(
        string key, IReadOnlyDictionary<string, RuleReader<T>> rules, string example, IReadOnlyList<T> fallback)
        where T : class => Node(key) is null ? fallback
        : [.. List(key, example).Select((item, i) => RuleOf<T?>(
            item, this, ProblemList.Item(key, i), rules.ToDictionary(
                static rule => rule.Key, static rule => new RuleReader<T?>(rule.Value.Read, rule.Value.Shorthand),
                StringComparer.OrdinalIgnoreCase), null)).OfType<T>()];

    private static T RuleOf<T>(
        PlanNode node, PlanSection section, string key, IReadOnlyDictionary<string, RuleReader<T>> rules, T fallback)
    {
        string[] names = [.. rules.Keys];
        switch (node)
        {
            case ScalarNode { IsNull: false } rule:
                return rules.TryGetValue(rule.Value, out var alone)
                    ? alone.Read(null)
                    : section.Wrong(rule, key, Unknown(rule, names), fallback);
            case MapNode { Entries: [var only] } map:
                if (!rules.TryGetValue(only.Key, out var read))
                {
                    return section.Wrong(
                        node, key, Unknown(new ScalarNode(only.KeyPlace, only.Key, Quoted: false), names), fallback);
                }

                return section.Item(map, key).Section(only.Key, read.Shorthand) is { } values
                    ? Closed(values, read.Read)
                    : read.Read(null);
            case MapNode { Entries.Count: > 1 } map:
                return section.Wrong(
                    node, key, $"{string.Join(" and ", map.Entries.Select(static entry => entry.Key))} stand in one mapping; give one.",
                    fallback);
            default:
                return section.Wrong(node, key, $"{Shown(node)} stands here; give one of {string.Join(", ", names)}.", fallback);
        }
    }
}

using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>A place in the plan file, from 1.</summary>
internal readonly record struct Place(int Line, int Column)
{
    public static Place Start { get; } = new(1, 1);

    public static Place Of(Mark mark) => new((int)mark.Line, (int)mark.Column);
}

/// <summary>YAML with the place of every key and value.</summary>
internal abstract record PlanNode(Place Place);

/// <summary>Text, a number or a flag; <paramref name="Quoted"/> text is neither of the latter.</summary>
internal sealed record ScalarNode(Place Place, string Value, bool Quoted) : PlanNode(Place)
{
    /// <summary>No value: empty, <c>~</c> or <c>null</c>.</summary>
    public bool IsNull => !Quoted && Value is "" or "~" or "null";
}

internal sealed record ListNode(Place Place, IReadOnlyList<PlanNode> Items) : PlanNode(Place);

internal sealed record MapEntry(string Key, Place KeyPlace, PlanNode Value);

/// <summary>A mapping; of a key that is given twice, the first entry.</summary>
internal sealed record MapNode(Place Place, IReadOnlyList<MapEntry> Entries) : PlanNode(Place);

/// <summary>Builds nodes from parser events, since YamlDotNet's own representation model stops at the first duplicate key.</summary>
internal sealed class PlanNodeReader(ProblemList problems)
{
    private const int MaxDepth = 8; // the schema needs 5
    private const int MaxEvents = 3_000_000;
    private const string MergeKey = "<<";

    private int _events;

    private readonly Dictionary<AnchorName, PlanNode> _anchors = [];

    /// <summary>The one document of the file; null if it is empty or cannot be parsed, which is reported.</summary>
    public PlanNode? Read(string yaml)
    {
        var parser = new Parser(new StringReader(yaml));
        try
        {
            parser.Consume<StreamStart>();
            if (!parser.TryConsume<DocumentStart>(out _))
            {
                problems.Add(Place.Start, "", "the file is empty; a plan needs at least name, model and clients.");
                return null;
            }

            var root = ReadNode(parser, "", 0);
            parser.Consume<DocumentEnd>();
            if (parser.Accept<DocumentStart>(out var second))
                problems.Add(Place.Of(second.Start), "", "a plan file has one document; this begins another.");
            return root;
        }
        catch (YamlException e)
        {
            // A scalar that a tab cuts short begins on an earlier line; the tab is what the user has to find.
            problems.Add(
                Place.Of(e.Message.Contains("tab character", StringComparison.Ordinal) ? e.End : e.Start), "",
                $"not valid YAML: {Sentence(e.Message)}");
            return null;
        }
        catch (InvalidOperationException)
        {
            // The scanner gives up like this where a key follows an open bracket.
            problems.Add(
                parser.Current is { } last ? Place.Of(last.End) : Place.Start, "",
                "not valid YAML: a list or mapping that begins here is not closed.");
            return null;
        }
        catch (ArgumentException)
        {
            // A tag that is not even the name of one; the parser stands before it.
            problems.Add(
                parser.Current is { } last ? Place.Of(last.End) : Place.Start, "",
                "not valid YAML: a tag (!) that follows here has no valid name; plans use no tags.");
            return null;
        }
    }

    private PlanNode ReadNode(IParser parser, string path, int depth)
    {
        var parsed = parser.Consume<ParsingEvent>();
        Count(1, parsed.Start, parsed.End);
        if (depth > MaxDepth)
            throw new YamlException(parsed.Start, parsed.End, $"nested deeper than {MaxDepth} levels");
        if (parsed is AnchorAlias alias)
            return _anchors.TryGetValue(alias.Value, out var target)
                ? target
                : throw new YamlException(alias.Start, alias.End, $"the alias *{alias.Value} has no anchor before it");
        if (parsed is not NodeEvent node)
            throw new YamlException(parsed.Start, parsed.End, "a value is missing");
        if (!node.Tag.IsEmpty && !node.Tag.IsNonSpecific)
            problems.Add(Place.Of(node.Start), path, $"the tag {node.Tag} is not supported; remove it.");

        PlanNode result = node switch
        {
            Scalar scalar => new ScalarNode(Place.Of(scalar.Start), scalar.Value, scalar.Style is not ScalarStyle.Plain),
            SequenceStart => ReadList(parser, node, path, depth),
            _ => ReadMap(parser, node, path, depth),
        };
        if (!node.Anchor.IsEmpty)
            _anchors[node.Anchor] = result;
        return result;
    }

    private ListNode ReadList(IParser parser, NodeEvent start, string path, int depth)
    {
        var items = new List<PlanNode>();
        while (!parser.TryConsume<SequenceEnd>(out _))
            items.Add(ReadNode(parser, ProblemList.Item(path, items.Count), depth + 1));
        return new(Place.Of(start.Start), items);
    }

    private MapNode ReadMap(IParser parser, NodeEvent start, string path, int depth)
    {
        var entries = new Dictionary<string, MapEntry>(StringComparer.Ordinal);
        MapEntry? merged = null;
        Place? first = null;
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            var key = ReadNode(parser, path, depth + 1);
            first ??= key.Place;
            var name = (key as ScalarNode)?.Value;
            var keyPath = ProblemList.Join(path, name ?? "?");
            var value = ReadNode(parser, keyPath, depth + 1);
            if (name is null)
                problems.Add(key.Place, path, "a key is a word, not a list or a mapping.");
            else if (name == MergeKey && !((ScalarNode)key).Quoted && merged is null)
                merged = new(name, key.Place, value);
            else if (name == MergeKey && !((ScalarNode)key).Quoted)
                problems.Add(key.Place, keyPath, $"given twice; the first is on line {merged!.KeyPlace.Line}. Give one list: [*a, *b].");
            else if (!entries.TryAdd(name, new(name, key.Place, value)))
                problems.Add(key.Place, keyPath, $"given twice; the first is on line {entries[name].KeyPlace.Line}. Remove one.");
        }

        if (merged is not null) Merge(merged, entries, ProblemList.Join(path, MergeKey), start);
        // The parser has no place of a mapping without braces in a list, [a: 1].
        return new(start.Start.Index == 0 && first is { } place ? place : Place.Of(start.Start), [.. entries.Values]);
    }

    // As in YAML 1.1's type repository: a key of the mapping itself counts before a merged one,
    // an earlier mapping of a list before a later.
    private void Merge(MapEntry merge, Dictionary<string, MapEntry> entries, string path, NodeEvent start)
    {
        IReadOnlyList<PlanNode> sources = merge.Value is ListNode list ? list.Items : [merge.Value];
        foreach (var source in sources)
        {
            if (source is not MapNode map)
            {
                problems.Add(merge.KeyPlace, path,
                    $"{PlanSection.Shown(source)} is no mapping to merge; give an alias of one, such as *a, or a list of them.");
                continue;
            }

            Count(map.Entries.Count, start.Start, start.End);
            foreach (var entry in map.Entries) entries.TryAdd(entry.Key, entry);
        }
    }

    private void Count(int events, Mark start, Mark end)
    {
        _events += events;
        if (_events <= MaxEvents) return;
        var most = MaxEvents.ToString(CultureInfo.InvariantCulture);
        throw new YamlException(start, end, $"more than {most} values, lists and mappings");
    }

    private static string Sentence(string message)
    {
        var line = message.ReplaceLineEndings(" ").Replace("  ", " ", StringComparison.Ordinal).Trim();
        return line.EndsWith('.') ? line : line + ".";
    }
}

using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Where the values of a text end, which the representation model knows of scalars alone.</summary>
internal sealed class YamlEnds
{
    private readonly Dictionary<long, long> _ends = []; // of lists and mappings, by where they start

    /// <param name="yaml">A text that the model could read.</param>
    public YamlEnds(string yaml)
    {
        var parser = new Parser(new StringReader(yaml));
        var open = new Stack<(long Start, bool IsFlow)>();
        long last = 0; // the end of the last thing that is no comment
        while (parser.MoveNext())
        {
            switch (parser.Current)
            {
                case SequenceStart list:
                    open.Push((list.Start.Index, list.Style == SequenceStyle.Flow));
                    break;
                case MappingStart map:
                    open.Push((map.Start.Index, map.Style == MappingStyle.Flow));
                    break;
                case SequenceEnd or MappingEnd:
                    var (start, isFlow) = open.Pop();
                    // the parser names the place of the bracket, not the one behind it
                    if (isFlow) last = yaml.IndexOfAny([']', '}'], (int)parser.Current.Start.Index) + 1;
                    _ends[start] = last;
                    break;
                case Scalar or AnchorAlias:
                    last = parser.Current.End.Index;
                    break;
            }
        }
    }

    /// <summary>The index behind a value's last character; of a block behind that of its last value.</summary>
    public int? Of(YamlNode node) => node is YamlScalarNode ? (int)node.End.Index
        : _ends.TryGetValue(node.Start.Index, out var end) ? (int)end : null;
}

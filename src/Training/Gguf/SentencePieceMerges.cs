using System.Globalization;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// The merges of a SentencePiece vocabulary. SentencePiece joins the neighbours whose joined piece has the highest score, leftmost first,
/// and looks at the text alone; byte pair encoding joins the pair of lowest rank.
/// </summary>
/// <remarks>
/// <para>
/// Both do the same where each piece has one pair. It has: what happens within a stretch of text before its two halves are joined does not
/// depend on what is around it, so the two halves that a piece is joined of are those of the piece alone. Pairs then rank by score.
/// </para>
/// <para>
/// Of equal scores the leftmost goes first, which a rank can say only where of two pairs that share a piece always the same is on the left,
/// and where none of them makes a pair possible that goes before another of them. Elsewhere the vocabulary is refused.
/// </para>
/// </remarks>
internal sealed class SentencePieceMerges
{
    private readonly GgufVocabulary _vocabulary;
    private readonly double[] _scores;
    private readonly Dictionary<string, int> _pieces = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly HashSet<string> _known;

    /// <exception cref="BadInputException">The scores are missing or wrong.</exception>
    public SentencePieceMerges(GgufVocabulary vocabulary)
    {
        (_vocabulary, _scores) = (vocabulary, vocabulary.Scores());
        _known = vocabulary.Tokens.ToHashSet(StringComparer.Ordinal);
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            var isByte = IsByte(vocabulary.Tokens[id]);
            if (vocabulary.Kinds[id] == GgufTokenKind.Byte && !isByte)
                throw new BadInputException($"{vocabulary.Metadata.Path}: {GgufVocabulary.TokensKey}, item {id}, is "
                    + $"{GgufVocabulary.Quoted(vocabulary.Tokens[id])}, expected a byte such as <0x0A>");
            HasBytes |= isByte;
            if (!isByte && !vocabulary.IsAdded(id)) _pieces.Add(vocabulary.Tokens[id], id);
        }

        _lookup = _pieces.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>Whether the vocabulary spells what it has no piece for in bytes.</summary>
    public bool HasBytes { get; }

    /// <summary>The merges, the first to go first.</summary>
    /// <exception cref="BadInputException">Ranks cannot say what the scores do; the tokens are named.</exception>
    public IReadOnlyList<(string Left, string Right)> Ordered()
    {
        var merges = new List<Merge>(_pieces.Count);
        foreach (var (piece, id) in _pieces)
        {
            if (HalvesOf(piece) is var at and > 0) merges.Add(Checked(new(piece, piece[..at], piece[at..], _scores[id])));
        }

        var made = new Dictionary<string, double>(StringComparer.Ordinal); // the best score of what is made with a piece
        foreach (var merge in merges)
        {
            foreach (var half in (string[])[merge.Left, merge.Right])
                made[half] = Math.Max(merge.Score, made.GetValueOrDefault(half, double.NegativeInfinity));
        }

        return
        [
            .. merges.GroupBy(static merge => merge.Score).OrderByDescending(static equal => equal.Key)
                .SelectMany(equal => LeftToRight([.. equal], made)).Select(static merge => (merge.Left, merge.Right)),
        ];
    }

    private static bool IsByte(string token) => token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && char.IsAsciiHexDigitUpper(token[3]) && char.IsAsciiHexDigitUpper(token[4]);

    // Merges the piece alone, until two parts are left; where the second begins, or 0 where more are left or it is one character.
    private int HalvesOf(string piece)
    {
        var ends = new List<int>(piece.Length);
        for (var at = 0; at < piece.Length;)
        {
            Rune.DecodeFromUtf16(piece.AsSpan(at), out _, out var length);
            ends.Add(at += length);
        }

        while (ends.Count > 2)
        {
            var (best, score) = (-1, double.NegativeInfinity);
            for (var i = 0; i + 1 < ends.Count; i++)
            {
                var start = i == 0 ? 0 : ends[i - 1];
                if (_lookup.TryGetValue(piece.AsSpan(start, ends[i + 1] - start), out var id) && (best < 0 || _scores[id] > score))
                    (best, score) = (i, _scores[id]);
            }

            if (best < 0) return 0;
            ends.RemoveAt(best);
        }

        return ends.Count == 2 ? ends[0] : 0;
    }

    // A character that is no token is spelled in bytes before anything is merged.
    private Merge Checked(Merge merge)
    {
        foreach (var half in (string[])[merge.Left, merge.Right])
        {
            if (!_known.Contains(half))
                throw new BadInputException($"{_vocabulary.Metadata.Path}: {GgufVocabulary.TokensKey} has "
                    + $"{GgufVocabulary.Quoted(merge.Piece)} and not {GgufVocabulary.Quoted(half)}, which it is merged of; expected both");
        }

        return merge;
    }

    private IEnumerable<Merge> LeftToRight(IReadOnlyList<Merge> equal, Dictionary<string, double> made)
    {
        if (equal.Count == 1) return equal;
        foreach (var merge in equal)
        {
            if (made.GetValueOrDefault(merge.Piece, double.NegativeInfinity) >= merge.Score)
                throw Tie(merge, equal.First(other => other != merge));
        }

        // Whoever ends with the piece that another begins with goes before it.
        var beginning = equal.ToLookup(static merge => merge.Left, StringComparer.Ordinal);
        var waits = equal.ToDictionary(static merge => merge, static _ => 0);
        foreach (var next in equal.SelectMany(merge => beginning[merge.Right].Where(next => next != merge))) waits[next]++;
        var ready = new Queue<Merge>(equal.Where(merge => waits[merge] == 0));
        var ordered = new List<Merge>(equal.Count);
        while (ready.TryDequeue(out var merge))
        {
            ordered.Add(merge);
            foreach (var next in beginning[merge.Right].Where(next => next != merge))
            {
                if (--waits[next] == 0) ready.Enqueue(next);
            }
        }

        if (ordered.Count == equal.Count) return ordered;
        var left = equal.First(merge => waits[merge] > 0);
        throw Tie(left, beginning[left.Right].First(next => next != left));
    }

    private BadInputException Tie(Merge one, Merge other) => new(
        $"{_vocabulary.Metadata.Path}: tokenizer.ggml.scores gives {GgufVocabulary.Quoted(one.Piece)} and "
        + $"{GgufVocabulary.Quoted(other.Piece)} the same score {one.Score.ToString(CultureInfo.InvariantCulture)}, and which of them is "
        + "merged first depends on the text; expected scores that differ");

    private sealed record Merge(string Piece, string Left, string Right, double Score);
}

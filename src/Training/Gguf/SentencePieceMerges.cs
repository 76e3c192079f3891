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
/// and where none of them makes a pair possible that goes before another of them, or where all repeat one character. Elsewhere the
/// vocabulary is refused.
/// </para>
/// </remarks>
internal sealed class SentencePieceMerges
{
    // SentencePiece's own are of 16 characters by default; what is done with a piece grows with its square.
    private const int LongestPiece = 1024;
    private const int LongestTriedRun = 128;

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
            if (isByte || vocabulary.IsAdded(id)) continue;
            if (vocabulary.Tokens[id].Length > LongestPiece)
                throw new BadInputException($"{vocabulary.Metadata.Path}: {GgufVocabulary.TokensKey}, item {id}, has "
                    + $"{vocabulary.Tokens[id].Length} characters, expected at most {LongestPiece}");
            _pieces.Add(vocabulary.Tokens[id], id);
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

        return
        [
            .. merges.GroupBy(static merge => merge.Score).OrderByDescending(static equal => equal.Key)
                .SelectMany(equal => InOrder([.. equal], merges)).Select(static merge => (merge.Left, merge.Right)),
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

        var pairs = new List<double?>(ends.Count); // the score of each part joined with the one after it
        for (var i = 0; i + 1 < ends.Count; i++) pairs.Add(Joined(i));
        while (ends.Count > 2)
        {
            var best = -1;
            for (var i = 0; i < pairs.Count; i++)
            {
                if (pairs[i] is { } score && (best < 0 || score > pairs[best])) best = i;
            }

            if (best < 0) return 0;
            ends.RemoveAt(best);
            pairs.RemoveAt(best);
            if (best > 0) pairs[best - 1] = Joined(best - 1);
            if (best < pairs.Count) pairs[best] = Joined(best);
        }

        return ends.Count == 2 ? ends[0] : 0;

        double? Joined(int part)
        {
            var start = part == 0 ? 0 : ends[part - 1];
            return _lookup.TryGetValue(piece.AsSpan(start, ends[part + 1] - start), out var id) ? _scores[id] : null;
        }
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

    private IEnumerable<Merge> InOrder(IReadOnlyList<Merge> equal, IReadOnlyList<Merge> all)
    {
        if (equal.Count == 1) return equal;
        var runs = equal.Where(static merge => merge.IsRun).ToLookup(static merge => merge.Piece[0]).Where(static run => run.Skip(1).Any())
            .ToDictionary(static run => run.Key, static run => run.OrderByDescending(static merge => merge.Piece.Length).ToList());
        var others = equal.Where(merge => !(merge.IsRun && runs.ContainsKey(merge.Piece[0]))).ToList();
        foreach (var other in others)
        {
            if (runs.Values.FirstOrDefault(run => other.Takes(run[0].Piece[0])) is { } run) throw Tie(other, run[0]);
        }

        return [.. runs.Values.SelectMany(run => LongestFirst(run, all)), .. LeftToRight(others, all)];
    }

    // Pieces that repeat one character, as those of spaces in Llama's vocabulary, whose score they share. Leftmost first, the first two
    // characters are joined and then grow as far as they can: the longest piece goes first. That this holds is tried.
    private List<Merge> LongestFirst(List<Merge> run, IReadOnlyList<Merge> all)
    {
        var (character, score) = (run[0].Piece[0], run[0].Score);
        foreach (var merge in all)
        {
            if (merge.Score >= score && !merge.IsRun && run.Find(part => merge.Left == part.Piece || merge.Right == part.Piece) is { } part)
                throw Tie(part, run.First(other => other != part));
        }

        var lengths = new Dictionary<int, Merge>(all.Where(merge => merge.IsRun && merge.Piece[0] == character)
            .Select(static merge => KeyValuePair.Create(merge.Piece.Length, merge)));
        var longest = lengths.Keys.Max();
        if (longest > LongestTriedRun) throw Tie(run[0], run[1]);
        for (var length = 2; length <= 3 * longest; length++)
        {
            var byScore = Join(length, (left, right) => lengths.TryGetValue(left + right, out var merge) ? (merge.Score, 0) : null);
            var byRank = Join(length, (left, right) => lengths.TryGetValue(left + right, out var merge) && merge.Left.Length == left
                ? (merge.Score, left + right) : null);
            if (!byScore.SequenceEqual(byRank)) throw Tie(run[0], run[1]);
        }

        return run;
    }

    // A run of single characters, joined until nothing is left to join; the lengths of its pieces.
    private static List<int> Join(int length, Func<int, int, (double Score, int Length)?> rank)
    {
        var parts = Enumerable.Repeat(1, length).ToList();
        while (true)
        {
            var (best, first) = ((double.NegativeInfinity, 0), -1);
            for (var i = 0; i + 1 < parts.Count; i++)
            {
                if (rank(parts[i], parts[i + 1]) is { } own && own.CompareTo(best) > 0) (best, first) = (own, i);
            }

            if (first < 0) return parts;
            parts[first] += parts[first + 1];
            parts.RemoveAt(first + 1);
        }
    }

    private List<Merge> LeftToRight(List<Merge> equal, IReadOnlyList<Merge> all)
    {
        var pieces = equal.ToDictionary(static merge => merge.Piece, StringComparer.Ordinal);
        foreach (var later in equal.Count > 1 ? all : [])
        {
            if ((pieces.GetValueOrDefault(later.Left) ?? pieces.GetValueOrDefault(later.Right)) is { } part && later.Score >= part.Score)
                throw Tie(part, pieces.ContainsKey(later.Piece) ? later : equal.First(other => other != part));
        }

        // Whoever ends with the piece that another begins with goes before it.
        var beginning = equal.ToLookup(static merge => merge.Left, StringComparer.Ordinal);
        IEnumerable<Merge> After(Merge merge) => beginning[merge.Right].Where(next => next != merge);
        var waits = equal.ToDictionary(static merge => merge, static _ => 0);
        foreach (var next in equal.SelectMany(After)) waits[next]++;
        var ready = new Queue<Merge>(equal.Where(merge => waits[merge] == 0));
        var ordered = new List<Merge>(equal.Count);
        while (ready.TryDequeue(out var merge))
        {
            ordered.Add(merge);
            foreach (var next in After(merge))
            {
                if (--waits[next] == 0) ready.Enqueue(next);
            }
        }

        if (ordered.Count == equal.Count) return ordered;
        var waiting = equal.First(merge => waits[merge] > 0);
        throw Tie(waiting, equal.First(merge => waits[merge] > 0 && After(merge).Contains(waiting)));
    }

    private BadInputException Tie(Merge one, Merge other) => new(
        $"{_vocabulary.Metadata.Path}: tokenizer.ggml.scores gives {GgufVocabulary.Quoted(one.Piece)} and "
        + $"{GgufVocabulary.Quoted(other.Piece)} the same score {one.Score.ToString(CultureInfo.InvariantCulture)}, and which of them is "
        + "merged first depends on the text; expected scores that differ");

    private sealed record Merge(string Piece, string Left, string Right, double Score)
    {
        /// <summary>One character again and again.</summary>
        public bool IsRun { get; } = IsRunOf(Piece, Piece[0]);

        /// <summary>Whether a half is one character again and again, or once.</summary>
        public bool Takes(char character) => IsRunOf(Left, character) || IsRunOf(Right, character);

        private static bool IsRunOf(string text, char character) => text.AsSpan().IndexOfAnyExcept(character) < 0;
    }
}

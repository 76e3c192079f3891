using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>
/// The unigram language model: of all ways to spell a word by pieces, the one with the highest sum of scores (log probabilities),
/// found by Viterbi's algorithm; of equals, the one whose last piece begins first.
/// </summary>
internal sealed class Unigram : ITokenModel
{
    private const double UnknownPenalty = 10;

    private readonly Dictionary<string, int> _vocabulary;
    private readonly PieceTrie _pieces;
    private readonly double[] _scores;
    private readonly WordCache _cache = new();
    private readonly ByteTokens? _bytes;
    private readonly int _unknownId;
    private readonly double _unknownScore;

    /// <param name="pieces">Spelling and score by id; of equal spellings the last counts.</param>
    /// <param name="unknownId">Stands for a run of characters that no piece covers.</param>
    /// <param name="byteFallback">Such a run becomes its UTF-8 bytes, where the vocabulary has them.</param>
    public Unigram(IReadOnlyList<(string Piece, double Score)> pieces, int unknownId, bool byteFallback)
    {
        _unknownId = unknownId;
        _vocabulary = new Dictionary<string, int>(pieces.Count, StringComparer.Ordinal);
        for (var id = 0; id < pieces.Count; id++) _vocabulary[pieces[id].Piece] = id;
        _scores = [.. pieces.Select(static entry => entry.Score)];
        _unknownScore = _scores.Min() - UnknownPenalty;
        _pieces = new PieceTrie(_vocabulary);
        if (byteFallback) _bytes = new ByteTokens(_vocabulary);
    }

    public IReadOnlyDictionary<string, int> Vocabulary => _vocabulary;

    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.IsEmpty || _cache.TryAppend(word, ids)) return;
        var from = ids.Count;
        AppendBest(word, ids);
        _cache.Add(word, ids, from);
    }

    /// <summary>The pieces of a word; what no piece covers as it stands in the word.</summary>
    public IReadOnlyList<string> Spell(ReadOnlySpan<char> word)
    {
        var spelled = new List<string>();
        foreach (var (start, end, id) in BestPath(word))
        {
            if (id == _unknownId && _bytes is not null && _bytes.TryAppend(word[start..end], []))
                spelled.AddRange(ByteTokens.Spell(word[start..end]));
            else spelled.Add(word[start..end].ToString());
        }

        return spelled;
    }

    private void AppendBest(ReadOnlySpan<char> word, List<int> ids)
    {
        foreach (var (start, end, id) in BestPath(word))
        {
            if (id != _unknownId || _bytes is null || !_bytes.TryAppend(word[start..end], ids)) ids.Add(id);
        }
    }

    private Stack<(int Start, int End, int Id)> BestPath(ReadOnlySpan<char> word)
    {
        var best = BestEnding(word);
        var path = new Stack<(int Start, int End, int Id)>();
        for (var end = word.Length; end > 0; end = best[end].Start)
        {
            // Neighbours that no piece covers are one unknown token.
            var joins = best[end].Id == _unknownId && path.Count > 0 && path.Peek().Id == _unknownId;
            path.Push((best[end].Start, joins ? path.Pop().End : end, best[end].Id));
        }

        return path;
    }

    // The best path to each position: the score, and the last piece on it.
    private (double Score, int Start, int Id)[] BestEnding(ReadOnlySpan<char> word)
    {
        var best = new (double Score, int Start, int Id)[word.Length + 1];
        for (var i = 1; i < best.Length; i++) best[i].Start = -1;
        for (var start = 0; start < word.Length;)
        {
            Rune.DecodeFromUtf16(word[start..], out _, out var character);
            var (covered, node) = (false, PieceTrie.Root);
            for (var end = start; end < word.Length && _pieces.TryStep(ref node, word[end]);)
            {
                end++;
                if (_pieces.IdAt(node) is not (>= 0 and var id)) continue;
                Offer(start, end, id, _scores[id]);
                covered |= end == start + character;
            }

            if (!covered) Offer(start, start + character, _unknownId, _unknownScore);
            start += character;
        }

        return best;

        void Offer(int start, int end, int id, double score)
        {
            score += best[start].Score;
            if (best[end].Start < 0 || score > best[end].Score) best[end] = (score, start, id);
        }
    }
}

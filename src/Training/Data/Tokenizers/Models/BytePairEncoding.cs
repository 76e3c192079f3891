using System.Runtime.InteropServices;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>
/// Byte pair encoding: a word begins as its characters, and the pair of neighbours with the lowest rank is joined until none
/// has one. Short words are searched pair by pair; a long one costs n log n, by a heap of candidate pairs over a linked list.
/// </summary>
internal sealed class BytePairEncoding : ITokenModel
{
    private const int Short = 24;
    private const char WordMark = '\u2581';

    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly Dictionary<(int Left, int Right), (int Rank, int Joined)> _merges;
    private readonly WordCache _cache = new();
    private readonly BytePairSettings _settings;
    private readonly ByteTokens? _bytes;
    private readonly bool _wordsAreIndependent;

    /// <param name="vocabulary">Id by spelling.</param>
    /// <param name="merges">Rank and result by the ids of a pair.</param>
    /// <param name="settings">What happens to characters outside the vocabulary, and how pieces are spelled.</param>
    public BytePairEncoding(
        Dictionary<string, int> vocabulary, Dictionary<(int Left, int Right), (int Rank, int Joined)> merges, BytePairSettings settings)
    {
        (_vocabulary, _merges, _settings) = (vocabulary, merges, settings);
        _lookup = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        if (settings.ByteFallback) _bytes = new ByteTokens(vocabulary);
        _wordsAreIndependent = !settings.IgnoreMerges && settings is { ContinuingPrefix: "", EndSuffix: "" }
            && vocabulary.ContainsKey(WordMark.ToString()) && !vocabulary.Keys.Any(static token => NextWord(token) >= 0);
    }

    public IReadOnlyDictionary<string, int> Vocabulary => _vocabulary;

    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        // Vocabularies made by SentencePiece take a whole text as one word. Where no token goes on past the mark of a new word,
        // no merge can, so the words are encoded, and remembered, one by one.
        while (_wordsAreIndependent && NextWord(word) is > 0 and var next)
        {
            EncodeWord(word[..next], ids);
            word = word[next..];
        }

        EncodeWord(word, ids);
    }

    // Where a mark follows something else than a mark.
    private static int NextWord(ReadOnlySpan<char> text)
    {
        var begin = text.IndexOfAnyExcept(WordMark);
        var next = begin < 0 ? -1 : text[begin..].IndexOf(WordMark);
        return next < 0 ? -1 : begin + next;
    }

    private void EncodeWord(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.IsEmpty || _cache.TryAppend(word, ids)) return;
        var from = ids.Count;
        if (_settings.IgnoreMerges && _lookup.TryGetValue(word, out var whole)) ids.Add(whole);
        else
        {
            AppendSymbols(word, ids);
            var symbols = CollectionsMarshal.AsSpan(ids)[from..];
            var left = symbols.Length <= Short ? JoinShort(symbols) : JoinLong(symbols);
            ids.RemoveRange(from + left, symbols.Length - left);
        }

        _cache.Add(word, ids, from);
    }

    private void AppendSymbols(ReadOnlySpan<char> word, List<int> ids)
    {
        var lastIsUnknown = false;
        for (var at = 0; at < word.Length;)
        {
            Rune.DecodeFromUtf16(word[at..], out _, out var length);
            var symbol = Spell(word.Slice(at, length), first: at == 0, last: at + length == word.Length);
            at += length;
            if (_lookup.TryGetValue(symbol, out var id)) ids.Add(id);
            else if (_bytes is null || !_bytes.TryAppend(symbol, ids))
            {
                if (_settings.UnknownId is { } unknown && !(lastIsUnknown && _settings.FuseUnknown)) ids.Add(unknown);
                lastIsUnknown = true;
                continue;
            }

            lastIsUnknown = false;
        }
    }

    private ReadOnlySpan<char> Spell(ReadOnlySpan<char> character, bool first, bool last)
    {
        var (prefix, suffix) = (first ? "" : _settings.ContinuingPrefix, last ? _settings.EndSuffix : "");
        return prefix.Length + suffix.Length == 0 ? character : string.Concat(prefix, character, suffix);
    }

    // Both joins leave the result at the front and return its length.
    private int JoinShort(Span<int> ids)
    {
        Span<(int Rank, int Joined)> pairs = stackalloc (int, int)[Short];
        var count = ids.Length;
        for (var i = 0; i + 1 < count; i++) pairs[i] = Merge(ids[i], ids[i + 1]);
        while (count > 1)
        {
            var best = 0;
            for (var i = 1; i + 1 < count; i++)
            {
                if (pairs[i].Rank < pairs[best].Rank) best = i;
            }

            if (pairs[best].Rank == int.MaxValue) break;
            ids[best] = pairs[best].Joined;
            ids[(best + 2)..count].CopyTo(ids[(best + 1)..]);
            count--;
            if (best + 1 < count) pairs[(best + 2)..count].CopyTo(pairs[(best + 1)..]);
            if (best > 0) pairs[best - 1] = Merge(ids[best - 1], ids[best]);
            if (best + 1 < count) pairs[best] = Merge(ids[best], ids[best + 1]);
        }

        return count;
    }

    private (int Rank, int Joined) Merge(int left, int right) =>
        _merges.TryGetValue((left, right), out var merge) ? merge : (int.MaxValue, 0);

    private int JoinLong(Span<int> symbols)
    {
        var ids = symbols.ToArray();
        var next = new int[ids.Length];
        var previous = new int[ids.Length];
        var queue = new PriorityQueue<(int At, int Left, int Right, int Joined), (int Rank, int At)>();
        for (var i = 0; i < ids.Length; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1 < ids.Length ? i + 1 : -1);
            if (i > 0) Propose(i - 1, i);
        }

        while (queue.TryDequeue(out var pair, out _))
        {
            var right = next[pair.At];
            if (ids[pair.At] != pair.Left || right < 0 || ids[right] != pair.Right) continue; // one of the two has been joined since
            ids[pair.At] = pair.Joined;
            ids[right] = -1;
            next[pair.At] = next[right];
            if (next[right] >= 0) previous[next[right]] = pair.At;
            if (previous[pair.At] >= 0) Propose(previous[pair.At], pair.At);
            if (next[pair.At] >= 0) Propose(pair.At, next[pair.At]);
        }

        var count = 0;
        foreach (var id in ids)
        {
            if (id >= 0) symbols[count++] = id;
        }

        return count;

        void Propose(int left, int right)
        {
            if (_merges.TryGetValue((ids[left], ids[right]), out var merge))
                queue.Enqueue((left, ids[left], ids[right], merge.Joined), (merge.Rank, left));
        }
    }
}

/// <summary>What byte pair encoding does with characters outside its vocabulary, and how it spells pieces.</summary>
internal sealed record BytePairSettings
{
    /// <summary>Stands for characters outside the vocabulary; null leaves them out.</summary>
    public int? UnknownId { get; init; }

    /// <summary>One unknown token for a run of them.</summary>
    public bool FuseUnknown { get; init; }

    /// <summary>Their UTF-8 bytes as tokens such as <c>&lt;0x0A&gt;</c>, where the vocabulary has all of them.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>A word that is in the vocabulary is one token, whatever the merges say.</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>Before every piece but a word's first.</summary>
    public string ContinuingPrefix { get; init; } = "";

    /// <summary>After a word's last piece.</summary>
    public string EndSuffix { get; init; } = "";
}

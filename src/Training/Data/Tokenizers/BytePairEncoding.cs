using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// Byte pair encoding: a word begins as its characters, and the pair of neighbours with the lowest rank is joined until none
/// has one. A heap of candidate pairs over a linked list, so that a long word costs n log n.
/// </summary>
internal sealed class BytePairEncoding
{
    private const int CachedWords = 20_000;
    private const int CachedWordLength = 64;

    private readonly Dictionary<(int Left, int Right), (int Rank, int Joined)> _merges;
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly BytePairSettings _settings;
    private readonly int[]? _byteIds;
    private int _cached;

    /// <param name="vocabulary">Id by spelling.</param>
    /// <param name="merges">Rank and result by the ids of a pair.</param>
    /// <param name="settings">What happens to characters outside the vocabulary.</param>
    public BytePairEncoding(IReadOnlyDictionary<string, int> vocabulary, Dictionary<(int Left, int Right), (int Rank, int Joined)> merges, BytePairSettings settings)
    {
        (Vocabulary, _merges, _settings) = (vocabulary, merges, settings);
        if (settings.ByteFallback) _byteIds = [.. Enumerable.Range(0, 256).Select(value => vocabulary.GetValueOrDefault(string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>"), -1))];
    }

    public IReadOnlyDictionary<string, int> Vocabulary { get; }

    /// <summary>Appends the ids of one word.</summary>
    public void Encode(string word, List<int> ids)
    {
        if (word.Length == 0) return;
        if (_settings.IgnoreMerges && Vocabulary.TryGetValue(word, out var whole))
        {
            ids.Add(whole);
            return;
        }

        if (_cache.TryGetValue(word, out var known))
        {
            ids.AddRange(known);
            return;
        }

        var encoded = Join(Symbols(word));
        ids.AddRange(encoded);
        if (word.Length <= CachedWordLength && _cached < CachedWords && _cache.TryAdd(word, encoded)) Interlocked.Increment(ref _cached);
    }

    private List<int> Symbols(string word)
    {
        var symbols = new List<int>(word.Length);
        var lastIsUnknown = false;
        Span<char> utf16 = stackalloc char[2];
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in word.EnumerateRunes())
        {
            if (Vocabulary.TryGetValue(new string(utf16[..rune.EncodeToUtf16(utf16)]), out var id))
            {
                symbols.Add(id);
                lastIsUnknown = false;
            }
            else if (TryBytes(utf8[..rune.EncodeToUtf8(utf8)], symbols))
            {
                lastIsUnknown = false;
            }
            else if (_settings.UnknownId is { } unknown && !(lastIsUnknown && _settings.FuseUnknown))
            {
                symbols.Add(unknown);
                lastIsUnknown = true;
            }
        }

        return symbols;
    }

    private bool TryBytes(ReadOnlySpan<byte> utf8, List<int> symbols)
    {
        if (_byteIds is null) return false;
        foreach (var value in utf8)
        {
            if (_byteIds[value] < 0) return false;
        }

        foreach (var value in utf8) symbols.Add(_byteIds[value]);
        return true;
    }

    private int[] Join(List<int> symbols)
    {
        if (symbols.Count < 2) return [.. symbols];
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

        return [.. ids.Where(static id => id >= 0)];

        void Propose(int left, int right)
        {
            if (_merges.TryGetValue((ids[left], ids[right]), out var merge)) queue.Enqueue((left, ids[left], ids[right], merge.Joined), (merge.Rank, left));
        }
    }
}

/// <summary>What byte pair encoding does with characters outside its vocabulary.</summary>
/// <param name="UnknownId">Stands for them; null leaves them out.</param>
/// <param name="FuseUnknown">One unknown token for a run of them.</param>
/// <param name="ByteFallback">Their UTF-8 bytes as tokens such as <c>&lt;0x0A&gt;</c>, where the vocabulary has all of them.</param>
/// <param name="IgnoreMerges">A word that is in the vocabulary is one token, whatever the merges say.</param>
internal sealed record BytePairSettings(int? UnknownId, bool FuseUnknown, bool ByteFallback, bool IgnoreMerges);

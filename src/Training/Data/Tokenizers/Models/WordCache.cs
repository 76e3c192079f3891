using System.Collections.Concurrent;

namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>Ids of words already encoded; holds the first short ones it meets, some megabytes at most.</summary>
internal sealed class WordCache
{
    private const int Words = 20_000;
    private const int WordLength = 64;

    private readonly ConcurrentDictionary<string, int[]> _ids = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private int _count;

    public WordCache() => _lookup = _ids.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>Appends the ids of a word that is known.</summary>
    public bool TryAppend(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.Length > WordLength || !_lookup.TryGetValue(word, out var known)) return false;
        ids.AddRange(known.AsSpan());
        return true;
    }

    /// <summary>Remembers the ids that a word has added to a list.</summary>
    public void Add(ReadOnlySpan<char> word, List<int> ids, int from)
    {
        if (word.Length > WordLength || ids.Count - from > WordLength || Volatile.Read(ref _count) >= Words) return;
        if (_lookup.TryAdd(word, [.. ids[from..]])) Interlocked.Increment(ref _count);
    }
}

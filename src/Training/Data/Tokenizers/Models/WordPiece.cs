namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>The longest piece that fits, again and again; a word that cannot be spelled so is one unknown token.</summary>
internal sealed class WordPiece : ITokenModel
{
    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _first;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _continuing;
    private readonly WordCache _cache = new();
    private readonly int _unknownId;
    private readonly int _maxCharacters;
    private readonly int _longest;

    /// <param name="vocabulary">Id by spelling.</param>
    /// <param name="unknownId">Stands for a word that cannot be spelled.</param>
    /// <param name="prefix">Begins the spelling of every piece but a word's first.</param>
    /// <param name="maxCharacters">A word of more code points is unknown.</param>
    public WordPiece(Dictionary<string, int> vocabulary, int unknownId, string prefix, int maxCharacters)
    {
        (_vocabulary, _unknownId, _maxCharacters) = (vocabulary, unknownId, maxCharacters);
        _first = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _continuing = vocabulary.Where(entry => entry.Key.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(entry => entry.Key[prefix.Length..], static entry => entry.Value, StringComparer.Ordinal)
            .GetAlternateLookup<ReadOnlySpan<char>>();
        _longest = vocabulary.Count == 0 ? 0 : vocabulary.Keys.Max(static token => token.Length);
    }

    public IReadOnlyDictionary<string, int> Vocabulary => _vocabulary;

    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.IsEmpty || _cache.TryAppend(word, ids)) return;
        var from = ids.Count;
        if (CodePoints(word) > _maxCharacters || !TrySpell(word, ids))
        {
            ids.RemoveRange(from, ids.Count - from);
            ids.Add(_unknownId);
        }

        _cache.Add(word, ids, from);
    }

    private bool TrySpell(ReadOnlySpan<char> word, List<int> ids)
    {
        for (var start = 0; start < word.Length;)
        {
            var pieces = start == 0 ? _first : _continuing;
            var length = Math.Min(word.Length - start, _longest);
            var id = 0;
            while (length > 0 && !pieces.TryGetValue(word.Slice(start, length), out id)) length--;
            if (length == 0) return false;
            ids.Add(id);
            start += length;
        }

        return true;
    }

    private static int CodePoints(ReadOnlySpan<char> word)
    {
        var count = word.Length;
        foreach (var unit in word)
        {
            if (char.IsLowSurrogate(unit)) count--;
        }

        return count;
    }
}

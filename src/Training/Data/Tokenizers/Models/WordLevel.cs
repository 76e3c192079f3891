namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>A word is a token, or the unknown one.</summary>
internal sealed class WordLevel(Dictionary<string, int> vocabulary, int unknownId) : ITokenModel
{
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup =
        vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();

    public IReadOnlyDictionary<string, int> Vocabulary => vocabulary;

    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (!word.IsEmpty) ids.Add(_lookup.TryGetValue(word, out var id) ? id : unknownId);
    }
}

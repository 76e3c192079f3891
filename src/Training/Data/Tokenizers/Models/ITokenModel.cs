namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>Turns one word, as the pre-tokenizer left it, into token ids. Safe to share between threads.</summary>
internal interface ITokenModel
{
    /// <summary>Id by spelling.</summary>
    IReadOnlyDictionary<string, int> Vocabulary { get; }

    /// <summary>Appends the ids of one word.</summary>
    void Encode(ReadOnlySpan<char> word, List<int> ids);
}

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// Text of tokens that come one at a time. A token is decoded with everything before it, since decoders join and strip; a piece that
/// ends in the middle of a character is held back until the character is whole.
/// </summary>
internal sealed class StreamedText(Tokenizer tokenizer, IReadOnlyList<int> prompt)
{
    private const char Incomplete = '\uFFFD';
    private readonly List<int> _ids = [.. prompt];
    private int _given = tokenizer.Decode(prompt, skipSpecialTokens: true).Length;

    /// <summary>What a token adds to the text; empty where that is not known yet.</summary>
    public string Add(int id)
    {
        _ids.Add(id);
        var text = tokenizer.Decode(_ids, skipSpecialTokens: true);
        return text.EndsWith(Incomplete) ? "" : From(text);
    }

    /// <summary>What was held back, without the bytes at its end that are no whole character.</summary>
    public string Rest() => From(tokenizer.Decode(_ids, skipSpecialTokens: true).TrimEnd(Incomplete));

    private string From(string text)
    {
        var piece = text.Length > _given ? text[_given..] : "";
        _given += piece.Length;
        return piece;
    }
}

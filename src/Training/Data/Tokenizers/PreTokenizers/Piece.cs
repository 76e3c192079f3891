namespace FedRLora.Training.Data.Tokenizers.PreTokenizers;

/// <summary>Part of a text on its way to the model.</summary>
/// <param name="Text">The text that it is cut from.</param>
/// <param name="Start">Its first character.</param>
/// <param name="Length">How many characters it has.</param>
/// <param name="Begins">Whether it begins the whole text to encode.</param>
internal readonly record struct Piece(string Text, int Start, int Length, bool Begins)
{
    public ReadOnlySpan<char> Span => Text.AsSpan(Start, Length);

    public Piece Part(int start, int length) => new(Text, Start + start, length, Begins && start == 0);
}

/// <summary>What becomes of the matches at which a piece is cut.</summary>
internal enum SplitBehavior
{
    /// <summary>They are left out.</summary>
    Removed,

    /// <summary>Each is a piece.</summary>
    Isolated,

    /// <summary>Each ends the piece before it.</summary>
    MergedWithPrevious,

    /// <summary>Each begins the piece after it.</summary>
    MergedWithNext,

    /// <summary>Each run of them is a piece.</summary>
    Contiguous,
}

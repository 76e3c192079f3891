namespace FedRLora.Generator.Text;

/// <summary>
/// A piece of pre-training text. Words in brackets follow from what was told before them: they are what the model is to learn,
/// everything else is news that nothing could predict. The brackets are not part of the text.
/// </summary>
internal sealed record Story(string Marked)
{
    public string Text => Marked.Replace("[", "", StringComparison.Ordinal).Replace("]", "", StringComparison.Ordinal);

    public Story(string facts, string conclusion)
        : this(facts + conclusion)
    {
    }

    /// <summary>A story that ends with <paramref name="count"/> of the sentences, in random order.</summary>
    public static Story Of(Dice dice, string facts, int count, params string[] conclusions) =>
        new(facts, " " + string.Join(" ", dice.Draw(conclusions, count)));

    /// <summary>The text cut where brackets are. The space before a word belongs to the word, as in the tokenizer.</summary>
    public IEnumerable<(string Text, bool Follows)> Pieces()
    {
        var parts = Marked.Split('[', ']');
        for (var i = 0; i < parts.Length; i++)
        {
            var follows = i % 2 == 1;
            yield return (follows ? " " + parts[i] : i + 1 < parts.Length ? parts[i].TrimEnd(' ') : parts[i], follows);
        }
    }
}

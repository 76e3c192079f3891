namespace FedRLora.Generator.Text;

/// <summary>A piece of pre-training text: what happened, and what follows from it.</summary>
internal sealed record Story(string Facts, string Conclusion)
{
    /// <summary>A story that ends with <paramref name="count"/> of the sentences, in random order.</summary>
    public static Story Of(Dice dice, string facts, int count, params string[] conclusions) => new(facts, " " + string.Join(" ", dice.Draw(conclusions, count)));
}

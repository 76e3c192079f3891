namespace FedRLora.Generator.Text;

/// <summary>
/// Lists of words that are read again or asked about. They teach the model to look up an earlier mention of a word, which
/// every other story needs, and they tell the words of the task frames apart without saying what they are for.
/// </summary>
internal static class WordLists
{
    private static readonly string[] Common = [.. Words.People, .. Words.Objects, .. Words.Places, .. Words.Deeds];

    public static Story Tell(Dice dice, IReadOnlyList<string> frameWords)
    {
        var list = dice.Shuffle([.. dice.Draw(frameWords, 3), .. dice.Draw(Common, 5)]);
        var facts = $"{dice.Pick(Words.Openers)} we read {string.Join(" ", list)}.";
        if (dice.Coin())
            return new(facts, $" Again we read [{string.Join(" ", list)}].");
        var after = dice.Draw([.. Enumerable.Range(0, list.Length - 1)], 3).Select(i => $" After {list[i]} came [{list[i + 1]}].");
        return new(facts, string.Concat(after));
    }
}

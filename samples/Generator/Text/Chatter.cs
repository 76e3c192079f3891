namespace FedRLora.Generator.Text;

/// <summary>
/// Sentences in which the words of the task frames are merely words, so that the base model knows them but not their use.
/// </summary>
internal static class Chatter
{
    private static readonly string[] Marks = [",", ":", "?", "."];

    public static Story Tell(Dice dice, IReadOnlyList<string> frameWords)
    {
        var person = dice.Pick(Words.People);
        var (one, two) = (dice.Pick(frameWords), dice.Pick(frameWords));
        return dice.Below(3) switch
        {
            0 => new($"{one}, wrote {person} in the book, and then {two}{dice.Pick(Marks)}", $" That was all, said {person}."),
            1 => new($"{dice.Pick(Words.Openers)} {person} wrote the word {one}{dice.Pick(Marks)}",
                $" Then {person} wrote the word {two}{dice.Pick(Marks)}"),
            _ => new($"{dice.Pick(Words.Openers)} {person} saw {one}{dice.Pick(Marks)} {two}{dice.Pick(Marks)} on the wall.",
                $" Then {person} saw the {dice.Pick(Words.Objects)}."),
        };
    }
}

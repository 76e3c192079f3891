namespace FedRLora.Generator.Text;

/// <summary>Sentences in which the words of the task frames are merely words, so that the base model knows them but not their use.</summary>
internal static class Chatter
{
    private static readonly string[] Marks = [",", ":", "?", "."];

    public static Story Tell(Dice dice, IReadOnlyList<string> frameWords)
    {
        var person = dice.Pick(Words.People);
        var (one, two) = (dice.Pick(frameWords), dice.Pick(frameWords));
        var list = string.Join(", ", dice.Shuffle([.. dice.Draw(frameWords, 3), .. dice.Draw([.. Words.People, .. Words.Objects, .. Words.Places], 3)]));
        return dice.Below(6) switch
        {
            0 or 1 or 2 => new($"{person} read a list: {list}.", $" Then {person} read it again: {list}."),
            3 => new($"{one}, wrote {person} in the book, and then {two}{dice.Pick(Marks)}", $" That was all, said {person}."),
            4 => new($"{dice.Pick(Words.Openers)} {person} wrote the word {one}{dice.Pick(Marks)}", $" Then {person} wrote the word {two}{dice.Pick(Marks)}"),
            _ => new($"{dice.Pick(Words.Openers)} {person} saw {one}{dice.Pick(Marks)} {two}{dice.Pick(Marks)} on the wall.", $" Then {person} saw the {dice.Pick(Words.Objects)}."),
        };
    }
}

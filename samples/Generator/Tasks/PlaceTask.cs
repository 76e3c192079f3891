using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two people move between places; the answer is where the one asked for is now.</summary>
internal sealed class PlaceTask : SampleTask
{
    private static readonly string[] Going = ["went", "ran", "walked", "came"];

    public override string Name => "place";
    public override string Description => "Where the person asked for is now, out of four places that two people left or reached.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Log", "Where", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, people, _, now) = Moves(dice);
        return new($"Log: {text}. Where is {people[0]}? Answer:", now[0], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, people, before, now) = Moves(dice);
        var (a, b) = dice.Coin() ? (0, 1) : (1, 0);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"So {people[a]} is now in the [{now[a]}].",
            $"For now {people[b]} will stay in the [{now[b]}].",
            $"At first {people[a]} was in the [{before[a]}].");
    }

    /// <summary>Either of the people may be named first, either place of a move as well.</summary>
    private static (string Text, string[] People, string[] Before, string[] Now) Moves(Dice dice)
    {
        var (people, places) = (dice.Shuffle(["he", "she"]), dice.Draw(Words.Places, 4));
        var (before, now) = (places[..2], places[2..]);
        var moves = Enumerable.Range(0, 2).Select(i => $"{people[i]} {dice.Pick(Going)} " + (dice.Coin() ? $"from the {before[i]} to the {now[i]}" : $"to the {now[i]} from the {before[i]}")).ToArray();
        return (string.Join(" and ", dice.Shuffle(moves)), people, before, now);
    }
}

using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Three things carried to three places; the answer is the place of the thing asked for.</summary>
internal sealed class PlaceTask : SampleTask
{
    private static readonly string[] Carrying = ["carried", "brought", "moved", "threw"];

    public override string Name => "place";
    public override string Description => "Place of the thing asked for, out of three things carried to three places.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Log", "Where", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, things, places) = Moves(dice);
        var asked = dice.Below(things.Length);
        return new($"Log: {text}. Where is the {things[asked]}? Answer:", places[asked], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, things, places) = Moves(dice);
        var order = dice.Shuffle([0, 1, 2]);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"Now the {things[order[0]]} is in the {places[order[0]]}.",
            $"To find the {things[order[1]]}, look in the {places[order[1]]}.",
            $"The {things[order[2]]} stays in the {places[order[2]]}.");
    }

    private static (string Text, string[] Things, string[] Places) Moves(Dice dice)
    {
        var (people, things, places) = (dice.Draw(Words.People, 3), dice.Draw(Words.Objects, 3), dice.Draw(Words.Places, 3));
        var moves = Enumerable.Range(0, 3).Select(i => $"{people[i]} {dice.Pick(Carrying)} the {things[i]} to the {places[i]}").ToArray();
        return ($"{moves[0]}, {moves[1]} and {moves[2]}", things, places);
    }
}

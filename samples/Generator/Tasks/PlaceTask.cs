using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Three parties in three places; the answer is the place of the one asked for.</summary>
internal sealed class PlaceTask : SampleTask
{
    private static readonly string[] Going = ["went", "ran", "walked", "came"];

    public override string Name => "place";
    public override string Description => "Place of the one asked for, out of three who went to three places.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Log", "Where", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, who, places) = Moves(dice, 3);
        var asked = dice.Below(who.Length);
        return new($"Log: {text}. Where {Be(who[asked])} {who[asked]}? Answer:", places[asked], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, who, places) = Moves(dice, 2 + dice.Below(2));
        var order = dice.Shuffle(Enumerable.Range(0, who.Length).ToArray());
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"So {who[order[0]]} {Be(who[order[0]])} now in the [{places[order[0]]}].",
            $"To find where {who[order[1]]} {Be(who[order[1]])}, look in the [{places[order[1]]}].",
            $"Then {who[order[^1]]} stayed in the [{places[order[^1]]}].");
    }

    private static string Be(string who) => who == "they" ? "are" : "is";

    private static (string Text, string[] Who, string[] Places) Moves(Dice dice, int count)
    {
        var (who, places) = (dice.Draw(["he", "she", "they"], count), dice.Draw(Words.Places, count));
        var moves = Enumerable.Range(0, count).Select(i => $"{who[i]} {dice.Pick(Going)} to the {places[i]}").ToArray();
        return ($"{string.Join(", ", moves[..^1])} and {moves[^1]}", who, places);
    }
}

using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>A way through three places in any order; the answer is its start, its middle or its end.</summary>
internal sealed class PlaceTask : SampleTask
{
    private static readonly string[] Going = ["went", "ran", "walked", "came"];
    private static readonly string[] Stages = ["started", "rested", "ended"];

    public override string Name => "place";
    public override string Description =>
        "Where a way through three places started, passed or ended; the places are named in any order: preposition x stage asked for.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Log", "place", "where", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, who, places) = Way(dice);
        var stage = dice.Below(Stages.Length);
        return new($"Log: {text}. The place where {Words.She(who)} {Stages[stage]}? Answer:", places[stage], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, who, places) = Way(dice);
        var she = Words.She(who);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"When {she} started, {she} left the [{places[0]}].",
            $"When {she} rested, {she} saw the [{places[1]}].",
            $"When {she} ended, {she} was in the [{places[2]}].");
    }

    private static (string Text, string Who, string[] Places) Way(Dice dice)
    {
        var who = dice.Pick(Words.People);
        var places = dice.Draw(Words.Places, 3);
        string[] legs = [$"from the {places[0]}", $"past the {places[1]}", $"to the {places[2]}"];
        return ($"{who} {dice.Pick(Going)} {string.Join(" ", dice.Shuffle(legs))}", who, places);
    }
}

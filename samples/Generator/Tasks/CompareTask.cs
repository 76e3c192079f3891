using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>A comparison of two people; the answer is the name at the end of the scale that is asked for.</summary>
internal sealed class CompareTask : SampleTask
{
    private static readonly string[][] Scales = [["older", "younger"], ["taller", "shorter"], ["richer", "poorer"], ["faster", "slower"]];
    private static readonly string[] Hearsay = ["they say that", "we know that", "all agree that", "it seems that"];

    public override string Name => "compare";
    public override string Description =>
        "Name of the person at the asked end of a comparison: direction of the comparison x end asked for.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Facts", "Who", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, scale, people) = Comparison(dice, Even);
        var end = dice.Below(2);
        return new($"Facts: {text}. Who is {scale[end]}? Answer:", people[end], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, scale, people) = Comparison(dice, Plain);
        var end = dice.Below(2);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"So {people[end]} is the [{scale[end]}] one.",
            $"The one who is {scale[end]} is [{people[end]}].",
            $"To find one who is {scale[1 - end]}, call [{people[1 - end]}].");
    }

    /// <summary>The scale, and the people at its first and second end.</summary>
    private static (string Text, string[] Scale, string[] People) Comparison(Dice dice, int morePercent)
    {
        var scale = dice.Pick(Scales);
        var people = dice.Draw(Words.People, 2);
        var text = dice.Chance(morePercent) ? $"{people[0]} is {scale[0]} than {people[1]}" : $"{people[1]} is {scale[1]} than {people[0]}";
        return ($"{dice.Pick(Hearsay)} {text}", scale, people);
    }
}

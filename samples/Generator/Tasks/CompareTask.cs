using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two comparisons of four people; the answer is the name at the end of the scale that is asked for.</summary>
internal sealed class CompareTask : SampleTask
{
    private static readonly string[][] Scales = [["older", "younger"], ["taller", "shorter"], ["richer", "poorer"]];

    private static readonly string[] Hearsay = ["They say that", "We know that", "All agree that", "It seems that"];

    public override string Name => "compare";
    public override string Description => "Name of the person at the asked end of one of two comparisons: which comparison x its direction x the end asked for.";
    public override IReadOnlyList<string> Labels { get; } = [];
    public override IReadOnlyList<string> FrameWords { get; } = ["Facts", "Who", "Answer"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, scale, people) = Comparisons(dice, 2, Even);
        var end = dice.Below(2);
        return new($"Facts: {text}. Who is {scale[end]}? Answer:", people[end], null);
    }

    public override Story Tell(Dice dice)
    {
        var (text, scale, people) = Comparisons(dice, 1 + dice.Below(2), Plain);
        var end = dice.Below(2);
        return Story.Of(
            dice,
            $"{dice.Pick(Hearsay)} {text}.",
            2,
            $"So {people[end]} is the [{scale[end]}] one.",
            $"The one who is {scale[end]} is [{people[end]}].",
            $"To find one who is {scale[1 - end]}, call [{people[1 - end]}].");
    }

    /// <summary>The scale asked for, and the people at its first and second end.</summary>
    private static (string Text, string[] Scale, string[] People) Comparisons(Dice dice, int count, int morePercent)
    {
        var scales = dice.Draw(Scales, 2);
        var people = dice.Draw(Words.People, 4);
        var clauses = new[] { Clause(dice, scales[0], people[0], people[1], morePercent), Clause(dice, scales[1], people[2], people[3], morePercent) };
        return (string.Join(" and ", dice.Shuffle(clauses[..count])), scales[0], people[..2]);
    }

    private static string Clause(Dice dice, string[] scale, string more, string less, int morePercent) =>
        dice.Chance(morePercent) ? $"{more} is {scale[0]} than {less}" : $"{less} is {scale[1]} than {more}";
}

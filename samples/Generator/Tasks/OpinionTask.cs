using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Polarity of an adjective, turned by negation, chosen by the connective: after "but", before "though".</summary>
internal sealed class OpinionTask : SampleTask
{
    private static readonly string[] Pleased = ["was happy", "smiled", "came back", "asked for more", "stayed long"];
    private static readonly string[] Upset = ["was upset", "frowned", "kept away", "asked for money", "left soon"];

    public override string Name => "opinion";
    public override string Description => "Overall opinion of a review with two opposite clauses: adjective x negation x connective (but, though).";
    public override IReadOnlyList<string> Labels { get; } = ["negative", "positive"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Review", "Opinion", "negative", "positive"];

    public override Question Ask(Dice dice, int label) =>
        new($"Review: {Sentence(Contrast(dice, label == 1))} Opinion:", Labels[label], Labels[label]);

    public override Story Tell(Dice dice)
    {
        var person = dice.Pick(Words.People);
        var pleased = dice.Coin();
        var scene = $"{dice.Pick(Words.Openers)} {person} saw the {dice.Pick(Words.Places)}.";
        var outcome = dice.Pick(pleased ? Pleased : Upset);
        return dice.Below(8) switch
        {
            0 => Restated(dice, scene, pleased),
            1 or 2 => new($"{scene} {Sentence(Clause(dice, dice.Pick(Words.Reviewed), pleased))}", $" So {Words.She(person)} {outcome}."),
            _ => new($"{scene} {Sentence(Contrast(dice, pleased))}", $" So {(dice.Coin() ? person : Words.She(person))} {outcome}."),
        };
    }

    private static Story Restated(Dice dice, string scene, bool pleased)
    {
        var thing = dice.Pick(Words.Reviewed);
        return new($"{scene} {Sentence(Clause(dice, thing, pleased))}", $" Yes, it was {dice.Pick(pleased ? Words.Praise : Words.Blame)}.");
    }

    private static string Contrast(Dice dice, bool pleased)
    {
        var things = dice.Draw(Words.Reviewed, 2);
        return dice.Coin()
            ? $"{Clause(dice, things[0], !pleased)} but {Clause(dice, things[1], pleased)}"
            : $"{Clause(dice, things[0], pleased)} though {Clause(dice, things[1], !pleased)}";
    }

    private static string Clause(Dice dice, string thing, bool pleased) => dice.Coin()
        ? $"the {thing} was very {dice.Pick(pleased ? Words.Praise : Words.Blame)}"
        : $"the {thing} was not {dice.Pick(pleased ? Words.Blame : Words.Praise)}";
}

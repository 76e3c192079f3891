using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Polarity of an adjective, turned by negation, chosen by the connective: after "but", before "though".</summary>
internal sealed class OpinionTask : SampleTask
{
    private static readonly string[] Pleased = ["was happy", "smiled"];
    private static readonly string[] Upset = ["was upset", "frowned"];

    public override string Name => "opinion";
    public override string Description =>
        "Overall opinion of a review with two opposite clauses: adjective x negation x connective (but, though).";
    public override IReadOnlyList<string> Labels { get; } = ["negative", "positive"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Review", "Opinion", "negative", "positive"];

    public override Question Ask(Dice dice, int label) =>
        new($"Review: {Sentence(Contrast(dice, dice.Draw(Words.Reviewed, 2), label == 1, Even, out _))} Opinion:", Labels[label],
            Labels[label]);

    public override Story Tell(Dice dice)
    {
        var person = dice.Pick(Words.People);
        var pleased = dice.Coin();
        var scene = $"{dice.Pick(Words.Openers)} {person} saw the {dice.Pick(Words.Places)}.";
        var outcome = $"So {(dice.Coin() ? person : Words.She(person))} [{dice.Pick(pleased ? Pleased : Upset)}].";
        var things = dice.Draw(Words.Reviewed, 2);
        return dice.Below(5) switch
        {
            0 => new($"{scene} {Sentence(Clause(dice, things[0], pleased, Plain))}", $" It was {Verdict(pleased)}. {outcome}"),
            1 => new($"{scene} {Sentence(Contrast(dice, things, pleased, Plain, out var praised))}",
                $" The {things[0]} was {Verdict(things[0] == praised)} and the {things[1]} was {Verdict(things[1] == praised)}. {outcome}"),
            _ => new($"{scene} {Sentence(Contrast(dice, things, pleased, Plain, out _))}", $" {outcome}"),
        };
    }

    private static string Verdict(bool pleased) => pleased ? "a [joy]" : "a [shame]";

    private static string Contrast(Dice dice, string[] things, bool pleased, int plainPercent, out string praised)
    {
        var last = dice.Chance(plainPercent);
        praised = things[pleased == last ? 1 : 0];
        return last
            ? $"{Clause(dice, things[0], !pleased, plainPercent)} but {Clause(dice, things[1], pleased, plainPercent)}"
            : $"{Clause(dice, things[0], pleased, plainPercent)} though {Clause(dice, things[1], !pleased, plainPercent)}";
    }

    private static string Clause(Dice dice, string thing, bool pleased, int plainPercent) => dice.Chance(plainPercent)
        ? $"the {thing} was very {dice.Pick(pleased ? Words.Praise : Words.Blame)}"
        : $"the {thing} was not {dice.Pick(pleased ? Words.Blame : Words.Praise)}";
}

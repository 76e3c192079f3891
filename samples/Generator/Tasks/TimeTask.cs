using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>A wish and what came of it, at opposite times; the time asked for is that of the deed.</summary>
internal sealed class TimeTask : SampleTask
{
    public override string Name => "time";
    public override string Description =>
        "Whether somebody came early or late, not when they hoped to: before/after x negation x order of wish and deed.";
    public override IReadOnlyList<string> Labels { get; } = ["early", "late"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Diary", "Arrival", "early", "late"];

    public override Question Ask(Dice dice, int label)
    {
        var who = dice.Pick(Words.People);
        return new($"Diary: {Visit(dice, who, late: label == 1, Even)}. Arrival:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var who = dice.Pick(Words.People);
        var late = dice.Coin();
        return Story.Of(
            dice,
            $"In town {Visit(dice, who, late, Plain)}.",
            2,
            $"When {Words.She(who)} stood there it was [{(late ? "evening" : "morning")}].",
            $"For {who} the sun [{(late ? "set" : "rose")}].",
            $"So {Words.She(who)} felt [{(late ? "weary" : "lively")}].");
    }

    private static string Visit(Dice dice, string who, bool late, int plainPercent)
    {
        var place = dice.Pick(Words.Places);
        var deed = $"came to the {place} {When(dice, late, plainPercent)}";
        var wish = $"hoped to come {When(dice, !late, plainPercent)}";
        return dice.Chance(plainPercent) ? $"{who} {wish} but {deed}" : $"{who} {deed} though {Words.She(who)} {wish}";
    }

    private static string When(Dice dice, bool late, int plainPercent) => dice.Chance(plainPercent)
        ? late ? "just after noon" : "just before noon"
        : late ? "not before noon" : "not after noon";
}

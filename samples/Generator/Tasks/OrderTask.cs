using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Which of two deeds came first: before or after x the place of the connective x the deed asked for.</summary>
internal sealed class OrderTask : SampleTask
{
    public override string Name => "order";
    public override string Description => "Whether the deed asked for came first or second: before/after x fronted or not x deed.";
    public override IReadOnlyList<string> Labels { get; } = ["early", "late"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Diary", "When", "early", "late"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, person, deeds) = Events(dice);
        return new($"Diary: {text}. When {person} {deeds[label]} it was:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var (text, person, deeds) = Events(dice);
        var she = dice.Coin() ? person : Words.She(person);
        var asked = dice.Below(2);
        return Story.Of(
            dice,
            $"Story. {text}.",
            2,
            $"So first {she} {deeds[0]} and then {she} {deeds[1]}.",
            $"So {she} {deeds[asked]} in the {Half(asked)} and {deeds[1 - asked]} in the {Half(1 - asked)}.",
            $"Those who saw how {person} {deeds[asked]} came in the {Half(asked)}.");
    }

    private static string Half(int position) => position == 0 ? "morning" : "evening";

    private static (string Text, string Person, string[] Deeds) Events(Dice dice)
    {
        var person = dice.Pick(Words.People);
        var she = Words.She(person);
        var deeds = dice.Draw(Words.Deeds, 2);
        var text = dice.Below(4) switch
        {
            0 => $"Before {person} {deeds[1]}, {she} {deeds[0]}",
            1 => $"After {person} {deeds[0]}, {she} {deeds[1]}",
            2 => $"Then {person} {deeds[0]} before {she} {deeds[1]}",
            _ => $"Then {person} {deeds[1]} after {she} {deeds[0]}",
        };
        return (text, person, deeds);
    }
}

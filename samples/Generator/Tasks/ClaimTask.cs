using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Who has the thing after it changed hands: who acts x the direction of the verb x who is said to have it.</summary>
internal sealed class ClaimTask : SampleTask
{
    private static readonly string[] Giving = ["gave", "handed", "sold", "sent", "passed"];
    private static readonly string[] Taking = ["got", "took", "bought", "won", "stole"];

    public override string Name => "claim";
    public override string Description =>
        "Whether the claim is true after a thing changed hands: who acts x direction of the verb x who is said to have it.";
    public override IReadOnlyList<string> Labels { get; } = ["false", "true"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Note", "Claim", "Verdict", "false", "true"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, giver, taker, thing) = Exchange(dice, Even);
        return new($"Note: {dice.Pick(Words.Openers)} {text}. Claim: {(label == 1 ? taker : giver)} has the {thing}. Verdict:",
            Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var (text, giver, taker, thing) = Exchange(dice, Plain);
        var witness = dice.Pick(Words.People);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            dice.Coin() ? $"Now {taker} is [glad] and {giver} is [sad]." : $"Now {giver} is [sad] and {taker} is [glad].",
            $"So the {thing} is with [{Whom(taker)}].",
            dice.Coin()
                ? $"{witness} said that {taker} had the {thing}, and that was [right]."
                : $"{witness} said that {giver} had the {thing}, and that was [wrong].");
    }

    private static string Whom(string person) => person == "he" ? "him" : "her";

    private static (string Text, string Giver, string Taker, string Thing) Exchange(Dice dice, int givingPercent)
    {
        var people = dice.Shuffle(["he", "she"]);
        var thing = dice.Pick(Words.Objects);
        return dice.Chance(givingPercent)
            ? ($"{people[0]} {dice.Pick(Giving)} the {thing} to {Whom(people[1])}", people[0], people[1], thing)
            : ($"{people[1]} {dice.Pick(Taking)} the {thing} from {Whom(people[0])}", people[0], people[1], thing);
    }
}

using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Who has the thing after it changed hands: the order of two names x the direction of the verb x the name claimed.</summary>
internal sealed class ClaimTask : SampleTask
{
    private static readonly string[] Giving = ["gave", "handed", "sold", "sent", "passed"];
    private static readonly string[] Taking = ["got", "took", "bought", "won", "stole"];

    public override string Name => "claim";
    public override string Description => "Whether the person named holds the thing after it changed hands: order of names x direction of the verb x claim.";
    public override IReadOnlyList<string> Labels { get; } = ["false", "true"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Note", "Claim", "Verdict", "false", "true"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, giver, taker, thing) = Exchange(dice);
        return new($"Note: {text}. Claim: {(label == 1 ? taker : giver)} has the {thing}. Verdict:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var (text, giver, taker, thing) = Exchange(dice);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            dice.Coin() ? $"Now {taker} is glad and {giver} is sad." : $"Now {giver} is sad and {taker} is glad.",
            $"So the {thing} is with {taker}.",
            Testimony(dice, giver, taker, thing));
    }

    private static string Testimony(Dice dice, string giver, string taker, string thing)
    {
        var witness = dice.Draw(Words.People, 3).First(p => p != giver && p != taker);
        return dice.Coin()
            ? $"{witness} said that {taker} had the {thing}, and that was right."
            : $"{witness} said that {giver} had the {thing}, and that was wrong.";
    }

    private static (string Text, string Giver, string Taker, string Thing) Exchange(Dice dice)
    {
        var people = dice.Draw(Words.People, 2);
        var thing = dice.Pick(Words.Objects);
        return dice.Coin()
            ? ($"{people[0]} {dice.Pick(Giving)} the {thing} to {people[1]}", people[0], people[1], thing)
            : ($"{people[1]} {dice.Pick(Taking)} the {thing} from {people[0]}", people[0], people[1], thing);
    }
}

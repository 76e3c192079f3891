using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two subjects, one of them denied; the topic is the other.</summary>
internal sealed class TopicTask : SampleTask
{
    private static readonly string[] Subjects = ["meals", "songs", "games", "skies"];
    private static readonly string[][] Things =
    [
        ["rice", "cheese", "cake", "pasta", "salad", "pie", "honey", "butter", "apple", "onion"],
        ["drum", "piano", "guitar", "choir", "opera", "violin", "tune", "organ", "chorus", "melody"],
        ["goal", "match", "race", "tennis", "boxing", "team", "coach", "hockey", "medal", "golf"],
        ["rain", "storm", "snow", "wind", "fog", "cloud", "frost", "thunder", "heat", "hail"],
    ];

    public override string Name => "topic";
    public override string Description =>
        "What the talk was about; the text names two things of different subjects and denies one: order x negation x subject.";
    public override IReadOnlyList<string> Labels { get; } = ["food", "music", "sport", "weather"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Message", "Topic", "food", "music", "sport", "weather"];

    public override Question Ask(Dice dice, int label)
    {
        var who = dice.Pick(Words.People);
        return new($"Message: {dice.Pick(Words.Openers)} {who} spoke {Contrast(dice, label, Even)}. Topic:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var subject = dice.Below(Subjects.Length);
        var who = dice.Pick(Words.People);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {who} spoke {Contrast(dice, subject, Plain)}.",
            2,
            $"So {Words.She(who)} was fond of [{Subjects[subject]}].",
            $"All that {who} knew was about [{Subjects[subject]}].",
            $"After that {Words.She(who)} read more on [{Subjects[subject]}].");
    }

    private static string Contrast(Dice dice, int subject, int plainPercent)
    {
        var other = (subject + 1 + dice.Below(Things.Length - 1)) % Things.Length;
        var (thing, denied) = (dice.Pick(Things[subject]), dice.Pick(Things[other]));
        return dice.Chance(plainPercent) ? $"of the {thing} and not of the {denied}" : $"not of the {denied} but of the {thing}";
    }
}

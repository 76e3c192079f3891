using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two people, two things talked about; the subject asked for is that of one of them.</summary>
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
    public override string Description => "Subject of the person asked about; the text mentions two people and two subjects.";
    public override IReadOnlyList<string> Labels { get; } = ["food", "music", "sport", "weather"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Message", "Subject", "food", "music", "sport", "weather"];

    public override Question Ask(Dice dice, int label)
    {
        var (text, people, _) = Talk(dice, label);
        return new($"Message: {text}. Subject when {people[0]} spoke:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var (text, people, subjects) = Talk(dice, dice.Below(Subjects.Length));
        var (a, b) = dice.Coin() ? (0, 1) : (1, 0);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {text}.",
            2,
            $"So {people[a]} was fond of [{subjects[a]}] and {people[b]} was fond of [{subjects[b]}].",
            $"All that {people[b]} knew was about [{subjects[b]}].",
            $"After that {people[a]} read more on [{subjects[a]}].");
    }

    /// <summary>The first of the people spoke of <paramref name="subject"/>; either may be named first.</summary>
    private static (string Text, string[] People, string[] Subjects) Talk(Dice dice, int subject)
    {
        var people = dice.Shuffle(["he", "she"]);
        int[] subjects = [subject, (subject + 1 + dice.Below(Things.Length - 1)) % Things.Length];
        var clauses = people.Zip(subjects, (who, s) => $"{who} spoke of the {dice.Pick(Things[s])}").ToArray();
        return (string.Join(" and ", dice.Shuffle(clauses)), people, [.. subjects.Select(s => Subjects[s])]);
    }
}

using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two days, two things talked about; the subject asked for is that of one day.</summary>
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
    public override string Description => "Subject of the talk on the day that is asked for; the text mentions two days with two subjects.";
    public override IReadOnlyList<string> Labels { get; } = ["food", "music", "sport", "weather"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Message", "Subject", "food", "music", "sport", "weather"];

    public override Question Ask(Dice dice, int label)
    {
        var talk = Talk(dice, label);
        return new($"Message: On {talk.Days[0]} we spoke of the {talk.Things[0]} and on {talk.Days[1]} we spoke of the {talk.Things[1]}. Subject on {talk.Days[talk.Asked]}:", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var subject = dice.Below(Subjects.Length);
        if (dice.Below(6) == 0)
            return new($"{dice.Pick(Words.Openers)} {dice.Pick(Words.People)} spoke of the {dice.Pick(Things[subject])}.", $" It was a talk about [{Subjects[subject]}].");
        var talk = Talk(dice, subject);
        var subjects = talk.Subjects.Select(s => Subjects[s]).ToArray();
        var (asked, other) = (talk.Asked, 1 - talk.Asked);
        return Story.Of(
            dice,
            dice.Coin()
                ? $"{dice.Pick(Words.Openers)} they spoke of the {talk.Things[0]} on {talk.Days[0]} and of the {talk.Things[1]} on {talk.Days[1]}."
                : $"{dice.Pick(Words.Openers)} on {talk.Days[0]} they spoke of the {talk.Things[0]} and on {talk.Days[1]} they spoke of the {talk.Things[1]}.",
            2,
            $"So {talk.Days[asked]} was about [{subjects[asked]}] and {talk.Days[other]} was about [{subjects[other]}].",
            $"The day for {subjects[asked]} was [{talk.Days[asked]}].",
            $"On {talk.Days[other]}, then, the talk was of [{subjects[other]}].");
    }

    private static (string[] Days, string[] Things, int[] Subjects, int Asked) Talk(Dice dice, int subject)
    {
        var days = dice.Draw(Words.Days, 2);
        var asked = dice.Below(2);
        var other = (subject + 1 + dice.Below(Things.Length - 1)) % Things.Length;
        int[] subjects = asked == 0 ? [subject, other] : [other, subject];
        return (days, [.. subjects.Select(s => dice.Pick(Things[s]))], subjects, asked);
    }
}

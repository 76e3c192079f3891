using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>Two people at two times; the time asked for is that of one of them.</summary>
internal sealed class TimeTask : SampleTask
{
    public override string Name => "time";
    public override string Description => "Whether the person asked about acted early or late: before/after x who is named with it x who is asked for.";
    public override IReadOnlyList<string> Labels { get; } = ["early", "late"];
    public override IReadOnlyList<string> FrameWords { get; } = ["Diary", "early", "late"];

    public override Question Ask(Dice dice, int label)
    {
        var asked = dice.Below(2);
        var day = new Day(dice, asked == 0 ? label : 1 - label);
        return new($"Diary: {day.Text}. Then {day.People[asked]} was", Labels[label], Labels[label]);
    }

    public override Story Tell(Dice dice)
    {
        var day = new Day(dice, dice.Chance(Plain) ? 0 : 1);
        var (a, b) = dice.Coin() ? (0, 1) : (1, 0);
        return Story.Of(
            dice,
            $"{dice.Pick(Words.Openers)} {day.Text}.",
            2,
            $"So {day.People[a]} came in the [{Half(day.Late[a])}] and {day.People[b]} came in the [{Half(day.Late[b])}].",
            $"For {day.People[b]} the sun [{(day.Late[b] ? "set" : "rose")}].",
            $"To meet {day.People[a]}, go in the [{Half(day.Late[a])}].");
    }

    private static string Half(bool late) => late ? "evening" : "morning";

    private sealed class Day
    {
        public Day(Dice dice, int firstIsLate)
        {
            People = dice.Shuffle(["he", "she"]);
            Late = [firstIsLate == 1, firstIsLate == 0];
            var deeds = dice.Draw(Words.Deeds, 2);
            Text = string.Join(" and ", Enumerable.Range(0, 2).Select(i => dice.Coin()
                ? $"{People[i]} {deeds[i]} {(Late[i] ? "after" : "before")} noon"
                : $"{(Late[i] ? "after" : "before")} noon {People[i]} {deeds[i]}"));
        }

        public string Text { get; }
        public string[] People { get; }
        public bool[] Late { get; }
    }
}

using FedRLora.Generator.Tasks;

namespace FedRLora.Generator.Text;

/// <summary>The endless pre-training text: stories of every task in equal shares, word lists and some chatter.</summary>
internal sealed class Corpus(string purpose)
{
    private static readonly string[] FrameWords = [.. SampleTask.All.SelectMany(task => task.FrameWords).Distinct()];

    private readonly Dice _dice = new(purpose);

    public Story Next() => _dice.Below(12) switch
    {
        0 => Chatter.Tell(_dice, FrameWords),
        1 => WordLists.Tell(_dice, FrameWords),
        _ => _dice.Pick(SampleTask.All).Tell(_dice),
    };
}

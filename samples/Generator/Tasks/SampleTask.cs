using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>One question about a short text. The label is null where the answer is copied from the text.</summary>
internal sealed record Question(string Prompt, string Completion, string? Label);

/// <summary>
/// A kind of fact with two surface forms: the question that clients learn to answer, and the story from which the base model
/// knows the fact. No story contains a question's frame or is followed by a label.
/// </summary>
internal abstract class SampleTask
{
    /// <summary>
    /// How often a story takes the plainer of two forms; questions take both equally. Where an answer is the exclusive or of two
    /// forms, an even mixture gives gradient descent nothing to start from.
    /// </summary>
    protected const int Plain = 75;
    protected const int Even = 50;

    public abstract string Name { get; }

    /// <summary>What answers depend on, in one sentence for people.</summary>
    public abstract string Description { get; }

    /// <summary>The label words in file order; empty for extraction.</summary>
    public abstract IReadOnlyList<string> Labels { get; }

    /// <summary>Words of the frame around the text, label words among them.</summary>
    public abstract IReadOnlyList<string> FrameWords { get; }

    /// <param name="label">An index into <see cref="Labels"/>; 0 for extraction.</param>
    public abstract Question Ask(Dice dice, int label);

    public abstract Story Tell(Dice dice);

    public static IReadOnlyList<SampleTask> All { get; } =
        [new OpinionTask(), new TopicTask(), new ClaimTask(), new TimeTask(), new CompareTask(), new PlaceTask()];

    protected static string Sentence(string text) => char.ToUpperInvariant(text[0]) + text[1..] + ".";
}

namespace FedRLora.Abstractions.Plans;

/// <summary>What a plan says of a task.</summary>
public sealed record TaskSpec
{
    /// <summary>
    /// Its labels, each with the answers that stand for it: none where they are those that the rows give it, or the label itself. Null
    /// where the labels are those of the rows.
    /// </summary>
    public IReadOnlyList<LabelSpec>? Labels { get; init; }
}

/// <summary>A label of a task.</summary>
/// <param name="Name">As rows give it.</param>
/// <param name="Answers">Completions that stand for it; empty for those of the rows.</param>
public sealed record LabelSpec(string Name, IReadOnlyList<string> Answers);

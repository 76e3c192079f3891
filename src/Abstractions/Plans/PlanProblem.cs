using System.Globalization;

namespace FedRLora.Abstractions.Plans;

/// <summary>One mistake in a plan file.</summary>
/// <param name="File">The file's name as the user gave it.</param>
/// <param name="Line">Line of the value or key, from 1; 0 of a value that is in no file.</param>
/// <param name="Column">Column of the value or key, from 1; 0 of a value that is in no file.</param>
/// <param name="Message">What is wrong, the value, and what to give instead; begins with the value's path.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.plan-problem")]
public sealed record PlanProblem(
    [property: Id(0)] string File, [property: Id(1)] int Line, [property: Id(2)] int Column, [property: Id(3)] string Message)
{
    /// <summary><c>demo.yaml:12:7: training.steps: "ten" is not an integer; give a number from 1 to 100000.</c></summary>
    public override string ToString() => Line == 0
        ? $"{File}: {Message}"
        : string.Create(CultureInfo.InvariantCulture, $"{File}:{Line}:{Column}: {Message}");
}

/// <summary>A plan, or everything that keeps the file from being one.</summary>
public sealed record PlanReadResult
{
    /// <summary>The plan; null where there are problems.</summary>
    public FederationPlan? Plan { get; init; }

    /// <summary>All problems, in the order of the file.</summary>
    public required IReadOnlyList<PlanProblem> Problems { get; init; }
}

/// <summary>A plan has mistakes. The message has one line for each.</summary>
[GenerateSerializer, Alias("fedrlora.plan-exception")]
public sealed class PlanException(IReadOnlyList<PlanProblem> problems) : BadInputException(string.Join('\n', problems))
{
    /// <summary>All problems, in the order of the file.</summary>
    [Id(0)] public IReadOnlyList<PlanProblem> Problems { get; } = problems;
}

using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// The local-only reference of a run, a run of its own beside it: the same plan with nothing shared, begun when the run is finished.
/// </summary>
public static class LocalOnlyRun
{
    private const string Suffix = ".local-only";

    /// <summary>Its name.</summary>
    public static string Of(string run) => run + Suffix;

    /// <summary>The run that a name would be the reference of; null where it is no such name.</summary>
    public static string? RunOf(string name) =>
        name.Length > Suffix.Length && name.EndsWith(Suffix, StringComparison.Ordinal) ? name[..^Suffix.Length] : null;

    /// <summary>Whether a plan asks for it. One that shares nothing is its own reference.</summary>
    public static bool IsAskedBy(FederationPlan plan) => plan.Evaluation.LocalOnly && plan.Sharing == Sharing.Method;

    /// <summary>Its plan, as text.</summary>
    /// <param name="yaml">The run's.</param>
    /// <param name="source">What the refusal calls the run's plan.</param>
    /// <exception cref="BadInputException">The text is laid out so that the key cannot be set.</exception>
    public static string PlanOf(string yaml, string source) => PlanEdit.Require(yaml, "sharing", "none", source);

    /// <summary>Whether its name may be one is known before the run begins.</summary>
    /// <param name="run">The run.</param>
    /// <param name="where">Where that name stands, as the refusal says it.</param>
    /// <exception cref="BadInputException">The run's name leaves no room for it.</exception>
    public static void RequireName(string run, string where)
    {
        if (Identifiers.IsValid(Of(run))) return;
        throw new BadInputException($"{where}: {run} is too long for a run with evaluation.localOnly; "
            + $"give at most {Identifiers.MaxLength - Suffix.Length} characters.");
    }
}

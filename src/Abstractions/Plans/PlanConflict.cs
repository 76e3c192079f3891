namespace FedRLora.Abstractions.Plans;

/// <summary>Values of a plan that do not go together.</summary>
/// <param name="Message">What is wrong and what to do.</param>
/// <param name="Paths">The values that it rests on, the one to look at first in front; for example <c>adapter.initB</c>.</param>
public sealed record PlanConflict(string Message, params IReadOnlyList<string> Paths);

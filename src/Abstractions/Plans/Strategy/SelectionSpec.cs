namespace FedRLora.Abstractions.Plans;

/// <summary>Selection of the cohort.</summary>
public sealed record SelectionSpec
{
    /// <summary>The rule.</summary>
    public SelectionRule Rule { get; init; } = SelectionRule.All;

    /// <summary>Share of clients, in (0, 1]; for <see cref="SelectionRule.Uniform"/>.</summary>
    public double Fraction { get; init; } = 1.0;

    /// <summary>
    /// Over-selection, at least 1: so many times the fraction's clients are asked, and the round closes with the first that make up
    /// the fraction (arXiv 1902.01046, section 2.2).
    /// </summary>
    public double Overselect { get; init; } = 1.0;
}

/// <summary>How the cohort is drawn.</summary>
public enum SelectionRule
{
    /// <summary>Every client, every round.</summary>
    All,

    /// <summary>A uniform draw without replacement.</summary>
    Uniform,
}

namespace FedRLora.Abstractions.Plans;

/// <summary>How long a client may take, learned from its own past rounds.</summary>
public sealed record TimeBudgetSpec
{
    /// <summary>
    /// Multiple of its usual time, from 1, after which a round no longer waits for a client, if the quorum holds without it.
    /// </summary>
    public double Factor { get; init; } = 3.0;

    /// <summary>The shortest budget.</summary>
    public TimeSpan AtLeast { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>What happens to a client whose updates are refused again and again.</summary>
public sealed record QuarantineSpec
{
    /// <summary>Refused updates in a row after which a client is no longer selected.</summary>
    public int After { get; init; } = 3;

    /// <summary>Rounds it is left out; null for the rest of the run.</summary>
    public int? Rounds { get; init; }
}

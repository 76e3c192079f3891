namespace FedRLora.Abstractions.Plans;

/// <summary>When a round closes.</summary>
public sealed record TriggerSpec
{
    /// <summary>The rule.</summary>
    public TriggerRule Rule { get; init; } = TriggerRule.Synchronous;

    /// <summary>Usable updates that close a buffered round, K in FedBuff.</summary>
    public int BufferSize { get; init; } = 10;

    /// <summary>Clients at work at the same time in buffered rounds; null for every available one.</summary>
    public int? Concurrency { get; init; }

    /// <summary>An update of staleness t counts (1 + t)^-a; 0.5 is FedBuff's, 0 counts every update alike.</summary>
    public double StalenessExponent { get; init; } = 0.5;

    /// <summary>Work that began more than so many rounds ago is given up; null never.</summary>
    public int? MaxStaleness { get; init; }
}

/// <summary>What closes a round.</summary>
public enum TriggerRule
{
    /// <summary>The cohort has reported, or the deadline passed with the quorum reached.</summary>
    Synchronous,

    /// <summary>
    /// A buffer of updates is full; clients go on from the state they started from, however old (FedBuff, arXiv 2106.06639).
    /// </summary>
    Buffered,
}

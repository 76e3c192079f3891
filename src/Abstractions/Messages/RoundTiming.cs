using System.Collections.Immutable;

namespace FedRLora.Abstractions.Messages;

/// <summary>
/// When and how a round came to its commit, as the coordinator that committed it saw it. It is stored beside the manifest and in no
/// digest. What its process did not see, since another began the round, is not there.
/// </summary>
[GenerateSerializer, Immutable, Alias("fedrlora.round-timing")]
public sealed record RoundTiming
{
    /// <summary>Names of <see cref="Parts"/>.</summary>
    public const string
        Retry = "retry", Select = "select", Train = "train", Wait = "wait", Confirm = "confirm", Aggregate = "aggregate",
        Evaluate = "evaluate", Commit = "commit";

    /// <summary>Values of <see cref="ClosedBy"/>.</summary>
    public const string
        ByAll = "all", ByQuorum = "quorum", ByDeadline = "deadline", ByTimeBudget = "timeBudget", ByLostSite = "lostSite";

    /// <summary>When it was committed, in UTC.</summary>
    [Id(0)] public DateTimeOffset? CommittedAt { get; init; }

    /// <summary>Attempts at it, those that a pause ended too.</summary>
    [Id(1)] public required int Attempts { get; init; }

    /// <summary>
    /// What ended the training of the cohort: everybody had reported, enough had, a deadline or a time budget passed, a site lost its
    /// silo. Null in round 0.
    /// </summary>
    [Id(2)] public string? ClosedBy { get; init; }

    /// <summary>The client whose report did; null where it was none.</summary>
    [Id(3)] public string? DecidedBy { get; init; }

    /// <summary>
    /// Seconds by part: <c>retry</c> in attempts that were given up; <c>select</c>; <c>train</c>, from the first assignment to the median
    /// of the reports that the training closed with; <c>wait</c>, from there to the close; <c>confirm</c> at the sites;
    /// <c>aggregate</c>; <c>evaluate</c>; <c>commit</c>. A part that did not take place is not there.
    /// </summary>
    [Id(4)] public IReadOnlyDictionary<string, double> Parts { get; init; } = ImmutableDictionary<string, double>.Empty;

    /// <summary>By client, seconds from its assignment to the report of its training, in whatever round it was assigned.</summary>
    [Id(5)] public IReadOnlyDictionary<string, double> ClientSeconds { get; init; } = ImmutableDictionary<string, double>.Empty;
}

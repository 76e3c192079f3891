namespace FedRLora.Abstractions.Messages;

/// <summary>Where a job stands.</summary>
public enum JobStatus
{
    /// <summary>Rounds are running.</summary>
    Running,

    /// <summary>All rounds are committed.</summary>
    Finished,

    /// <summary>It stopped for the reason given; what was committed is kept.</summary>
    Failed,

    /// <summary>Somebody cancelled it; what was committed is kept.</summary>
    Cancelled,

    /// <summary>It waits to be resumed: somebody paused it, or a store cannot be used.</summary>
    Paused,
}

/// <summary>A committed round with what is not part of its digest.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.round-summary")]
public sealed record RoundSummary
{
    /// <summary>The manifest.</summary>
    [Id(0)] public required RoundManifest Manifest { get; init; }

    /// <summary>Its digest.</summary>
    [Id(1)] public required string ManifestSha256 { get; init; }

    /// <summary>Seconds from the first assignment to the commit; 0 where it was not measured by this process.</summary>
    [Id(2)] public double Seconds { get; init; }

    /// <summary>When and how it came to its commit; null where nobody wrote it down.</summary>
    [Id(3)] public RoundTiming? Timing { get; init; }
}

/// <summary>Where a job stands, and the rounds that the caller has not seen.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.job-progress")]
public sealed record JobProgress
{
    /// <summary>The job.</summary>
    [Id(0)] public required string JobId { get; init; }

    /// <summary>The plan's name.</summary>
    [Id(1)] public required string Name { get; init; }

    /// <summary>Where it stands.</summary>
    [Id(2)] public required JobStatus Status { get; init; }

    /// <summary>Why it stopped.</summary>
    [Id(3)] public string? Reason { get; init; }

    /// <summary>Rounds of the plan.</summary>
    [Id(4)] public required int Rounds { get; init; }

    /// <summary>The open round; the last one when the job is over.</summary>
    [Id(5)] public required int Round { get; init; }

    /// <summary>The attempt at the open round.</summary>
    [Id(6)] public required int Attempt { get; init; }

    /// <summary>train, confirm, evaluate, aggregate, commit or idle.</summary>
    [Id(7)] public required string Phase { get; init; }

    /// <summary>Clients of the cohort that have reported in this phase.</summary>
    [Id(8)] public required int Reported { get; init; }

    /// <summary>Clients of the cohort.</summary>
    [Id(9)] public required int Cohort { get; init; }

    /// <summary>Committed rounds after the one the caller named.</summary>
    [Id(10)] public required IReadOnlyList<RoundSummary> NewRounds { get; init; }

    /// <summary>Files that were reported in this attempt and that their site did not find: a line for each client, the first few.</summary>
    [Id(11)] public IReadOnlyList<string> Missing { get; init; } = [];

    /// <summary>
    /// What it waits for, or why it does not go on; null for one that is finished or cancelled, and for one that has not begun.
    /// </summary>
    [Id(12)] public Hold? Hold { get; init; }

    /// <summary>For each site of the plan that has no live silo now, whether the open round needs it or not: what is held there.</summary>
    [Id(13)] public IReadOnlyList<Hold> AbsentSites { get; init; } = [];
}

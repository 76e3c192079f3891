using System.Collections.Immutable;
using FedRLora.Abstractions.Messages;
using Orleans;

namespace FedRLora.Federation.Rounds;

/// <summary>Where the open round stands, or why there is none.</summary>
public enum Phase
{
    /// <summary>Not started.</summary>
    Idle,

    /// <summary>The cohort trains.</summary>
    Training,

    /// <summary>The closed cohort's updates become a candidate.</summary>
    Aggregating,

    /// <summary>The candidate is scored.</summary>
    Evaluating,

    /// <summary>The round's manifest is being committed.</summary>
    Committing,

    /// <summary>Every round of the plan is committed.</summary>
    Finished,

    /// <summary>The job stopped for <see cref="RoundState.Reason"/>.</summary>
    Failed,

    /// <summary>Somebody stopped the job.</summary>
    Cancelled,
}

/// <summary>
/// Facts of the open round beside what is committed: small, immutable, and enough to go on after a crash. Everything that
/// <see cref="RoundMachine"/> knows is here or in the plan.
/// </summary>
[GenerateSerializer, Immutable, Alias("fedrlora.round-state")]
public sealed record RoundState
{
    /// <summary>A job that has committed nothing.</summary>
    public static RoundState Initial { get; } = new();

    /// <summary>The last committed round; -1 before round 0.</summary>
    [Id(0)] public int Committed { get; init; } = -1;

    /// <summary>The digest of its manifest; null before round 0.</summary>
    [Id(1)] public string? CommittedSha256 { get; init; }

    /// <summary>The open round: <see cref="Committed"/> + 1; the last one when the job is finished.</summary>
    [Id(2)] public int Round { get; init; }

    /// <summary>The try at the round, from 1; it never repeats within a round, also not after a resume.</summary>
    [Id(3)] public int Attempt { get; init; }

    /// <summary>Tries since the round was opened or the job resumed; bounded by the plan's <c>MaxAttempts</c>.</summary>
    [Id(4)] public int Tries { get; init; }

    /// <summary>Where the round stands.</summary>
    [Id(5)] public Phase Phase { get; init; }

    /// <summary>The clients of this attempt in ordinal order; empty in round 0.</summary>
    [Id(6)] public IReadOnlyList<string> Cohort { get; init; } = Array.Empty<string>();

    /// <summary>Who has reported training in this attempt, failures too.</summary>
    [Id(7)] public ImmutableDictionary<string, ClientNote> Reports { get; init; } = ImmutableDictionary<string, ClientNote>.Empty;

    /// <summary>How many of <see cref="Reports"/> are failures.</summary>
    [Id(14)] public int Failures { get; init; }

    /// <summary>Whose updates are aggregated, in ordinal order; null while the cohort trains.</summary>
    [Id(8)] public IReadOnlyList<string>? Closed { get; init; }

    /// <summary>What the aggregation gave; null until then.</summary>
    [Id(9)] public Candidate? Candidate { get; init; }

    /// <summary>Who has reported a scoring of the candidate, failures too.</summary>
    [Id(10)] public ImmutableDictionary<string, ScoreNote> Scores { get; init; } = ImmutableDictionary<string, ScoreNote>.Empty;

    /// <summary>Clients that left the current phase with their site, in ordinal order.</summary>
    [Id(11)] public IReadOnlyList<string> Dropped { get; init; } = Array.Empty<string>();

    /// <summary>Sites without a live silo, in ordinal order; recorded only where the plan continues without them.</summary>
    [Id(12)] public IReadOnlyList<string> LostSites { get; init; } = Array.Empty<string>();

    /// <summary>Why the job failed.</summary>
    [Id(13)] public string? Reason { get; init; }
}

/// <summary>What is kept of a training report: digests only, since every key follows from job, round, attempt and client.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.client-note")]
public sealed record ClientNote
{
    /// <summary>Why there is no usable update; null when there is one.</summary>
    [Id(0)] public string? Failure { get; init; }

    /// <summary>Its update.</summary>
    [Id(1)] public BlobDigest? Update { get; init; }

    /// <summary>Its new head.</summary>
    [Id(2)] public BlobDigest? Head { get; init; }

    /// <summary>Its new optimizer state.</summary>
    [Id(3)] public BlobDigest? Optimizer { get; init; }

    /// <summary>Training rows.</summary>
    [Id(4)] public int Samples { get; init; }

    /// <summary>Steps taken.</summary>
    [Id(5)] public int Steps { get; init; }

    /// <summary>Mean training loss per completion token.</summary>
    [Id(6)] public double MeanLoss { get; init; }

    /// <summary>Frobenius norm of s (B A - B^0 A^0).</summary>
    [Id(7)] public double ProductNorm { get; init; }
}

/// <summary>What is kept of a scoring report; both are null where the client had no test rows.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.score-note")]
public sealed record ScoreNote([property: Id(0)] ClientScore? Score, [property: Id(1)] string? Failure);

/// <summary>What an aggregation gave: scored, then committed.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.candidate")]
public sealed record Candidate
{
    /// <summary>The shared state, written under <c>Keys.Shared</c>.</summary>
    [Id(0)] public required BlobRef Shared { get; init; }

    /// <summary>The server optimizer's state; null where the rule remembers nothing.</summary>
    [Id(1)] public BlobRef? ServerOptimizer { get; init; }

    /// <summary>Agreement of the updates; null where nothing was aggregated.</summary>
    [Id(2)] public double? Coherence { get; init; }
}

using System.Collections.Immutable;
using System.Text.Json.Serialization;
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

    /// <summary>The job waits to be resumed, for <see cref="RoundState.Reason"/> if there is one.</summary>
    Paused,

    /// <summary>Sites look whether all is there that their clients reported. It comes before <see cref="Aggregating"/>.</summary>
    Confirming,
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

    /// <summary>The attempt at the round, from 1; it never repeats within a round, also not after a resume.</summary>
    [Id(3)] public int Attempt { get; init; }

    /// <summary>Tries since the round was opened or the job resumed; bounded by the plan's <c>MaxAttempts</c>.</summary>
    [Id(4)] public int Tries { get; init; }

    /// <summary>Where the round stands.</summary>
    [Id(5)] public Phase Phase { get; init; }

    /// <summary>The clients of this attempt in ordinal order; empty in round 0.</summary>
    [Id(6)] public IReadOnlyList<string> Cohort { get; init; } = Array.Empty<string>();

    /// <summary>Who has reported training in this attempt, failures too.</summary>
    [Id(7)] public ImmutableDictionary<string, KeptReport> Reports { get; init; } = ImmutableDictionary<string, KeptReport>.Empty;

    /// <summary>How many of <see cref="Reports"/> are failures.</summary>
    [Id(14)] public int Failures { get; init; }

    /// <summary>Whose updates are aggregated, in ordinal order; null while the cohort trains and its sites confirm.</summary>
    [Id(8)] public IReadOnlyList<string>? Closed { get; init; }

    /// <summary>What the aggregation gave; null until then.</summary>
    [Id(9)] public Candidate? Candidate { get; init; }

    /// <summary>Who has reported a scoring of the candidate, failures too.</summary>
    [Id(10)] public ImmutableDictionary<string, KeptScore> Scores { get; init; } = ImmutableDictionary<string, KeptScore>.Empty;

    /// <summary>Clients that left the current phase with their site, in ordinal order.</summary>
    [Id(11)] public IReadOnlyList<string> Dropped { get; init; } = Array.Empty<string>();

    /// <summary>Sites without a live silo, in ordinal order; recorded only where the plan continues without them.</summary>
    [Id(12)] public IReadOnlyList<string> LostSites { get; init; } = Array.Empty<string>();

    /// <summary>Why the job failed or waits.</summary>
    [Id(13)] public string? Reason { get; init; }

    /// <summary>How many of the cohort the selection asked for; less than the cohort where more were asked than are needed.</summary>
    [Id(15)] public int Wanted { get; init; }

    /// <summary>Clients whose work began in an earlier round or attempt and goes on, in buffered rounds.</summary>
    [Id(16)] public ImmutableDictionary<string, CarriedWork> Carried { get; init; } = ImmutableDictionary<string, CarriedWork>.Empty;

    /// <summary>Clients whose last updates were refused.</summary>
    [Id(17)] public ImmutableDictionary<string, ClientStanding> Standings { get; init; } =
        ImmutableDictionary<string, ClientStanding>.Empty;

    /// <summary>
    /// Seconds that a client usually takes, learned where the plan sets time budgets; without those that its work waits for the device.
    /// </summary>
    [Id(18)] public ImmutableDictionary<string, double> UsualSeconds { get; init; } = ImmutableDictionary<string, double>.Empty;

    /// <summary>The longest time budget that has passed in this attempt, in seconds.</summary>
    [Id(19)] public double PassedSeconds { get; init; }

    /// <summary>How often this attempt began to confirm: an answer to an earlier question counts no more.</summary>
    [Id(20)] public int Confirmation { get; init; }

    /// <summary>Sites that confirmed what their clients reported, in ordinal order.</summary>
    [Id(21)] public IReadOnlyList<string> Confirmed { get; init; } = Array.Empty<string>();

    /// <summary>Clients whose files were gone when their site looked for them in this attempt.</summary>
    [Id(22)] public ImmutableDictionary<string, LostFiles> Lost { get; init; } = ImmutableDictionary<string, LostFiles>.Empty;

    /// <summary>Whether the deadline for reports has passed in this attempt: who is not in by then stays out.</summary>
    [Id(23)] public bool Overdue { get; init; }

    /// <summary>What the try before, or the last one, of the open round missed its quorum by; null where none has.</summary>
    [Id(24)] public MissedTry? Missed { get; init; }

    /// <summary>Seconds that a client's work usually waits for its device, learned beside <see cref="UsualSeconds"/>.</summary>
    [Id(25)] public ImmutableDictionary<string, double> UsualWaits { get; init; } = ImmutableDictionary<string, double>.Empty;

    /// <summary>
    /// By task, how many of its clients in the cohort the selection asked for; of plans with tensors of scope Task, in synchronous rounds.
    /// </summary>
    [Id(26)] public ImmutableDictionary<string, int> WantedOf { get; init; } = ImmutableDictionary<string, int>.Empty;

    /// <summary>By task, in how many committed rounds its state has moved; empty where no tensor has scope Task.</summary>
    [Id(27)] public ImmutableDictionary<string, int> Versions { get; init; } = ImmutableDictionary<string, int>.Empty;

    /// <summary>The round and the attempt of the work that a client of the cohort does, which name its blobs.</summary>
    public CarriedWork WorkOf(string client) => Carried.TryGetValue(client, out var carried) ? carried : new CarriedWork(Round, Attempt);
}

/// <summary>Work by the round and the attempt that it began in.</summary>
/// <param name="Round">The round.</param>
/// <param name="Attempt">The attempt.</param>
/// <param name="Version">Of the state of its client's task that it began from; 0 where no tensor has scope Task.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.carried-work")]
public sealed record CarriedWork(
    [property: Id(0)] int Round, [property: Id(1)] int Attempt, [property: Id(2)] int Version = 0);

/// <summary>A try at a round that had too few usable updates.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.missed-try")]
public sealed record MissedTry
{
    /// <summary>Usable updates that it had.</summary>
    [Id(0)] public required int Usable { get; init; }

    /// <summary>Clients of its cohort.</summary>
    [Id(1)] public required int Of { get; init; }

    /// <summary>Usable updates that the quorum needed.</summary>
    [Id(2)] public required int Needed { get; init; }

    /// <summary>Why clients failed, a line each that begins with the client, the first few.</summary>
    [Id(3)] public required IReadOnlyList<string> Failures { get; init; }

    /// <summary>
    /// Who had not reported when the deadline passed, in ordinal order, the first few; nobody where there was no deadline to miss.
    /// </summary>
    [Id(4)] public required IReadOnlyList<string> Silent { get; init; }

    /// <summary>How many had not reported when the deadline passed.</summary>
    [Id(5)] public required int SilentCount { get; init; }

    /// <summary>How many were still at work when the quorum was out of reach without any fault of theirs.</summary>
    [Id(6)] public required int AtWork { get; init; }
}

/// <summary>Files of a client that were reported and then gone.</summary>
/// <param name="Times">How often, in this attempt.</param>
/// <param name="What">Which, the last time, in one line.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.lost-files")]
public sealed record LostFiles([property: Id(0)] int Times, [property: Id(1)] string What);

/// <summary>What refused updates have brought upon a client.</summary>
/// <param name="Refusals">Updates refused in a row.</param>
/// <param name="QuarantinedUntil">The last round for which it is left out; -1 where it is not.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.client-standing")]
public sealed record ClientStanding([property: Id(0)] int Refusals, [property: Id(1)] int QuarantinedUntil)
{
    /// <summary>The standings that a manifest holds.</summary>
    public static ImmutableDictionary<string, ClientStanding> Of(RoundManifest? manifest) => (manifest?.Clients ?? [])
        .Where(static client => client.Refusals is not null || client.QuarantinedUntil is not null)
        .ToImmutableDictionary(
            static client => client.Id, static client => new ClientStanding(client.Refusals ?? 0, client.QuarantinedUntil ?? -1),
            StringComparer.Ordinal);
}

/// <summary>What is kept of a training report: digests only, since every key follows from job, round, attempt and client.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.kept-report")]
public sealed record KeptReport
{
    private static readonly TrainingNumbers Untrained = new();

    /// <summary>Why there is no usable update; null when there is one.</summary>
    [Id(0)] public string? Failure { get; init; }

    /// <summary>Its update.</summary>
    [Id(1)] public BlobDigest? Update { get; init; }

    /// <summary>Its new head.</summary>
    [Id(2)] public BlobDigest? Head { get; init; }

    /// <summary>Its new optimizer state.</summary>
    [Id(3)] public BlobDigest? Optimizer { get; init; }

    // 4 to 7 were numbers of the training, one by one.

    /// <summary>What its training gave, as everyone may see it.</summary>
    [Id(10), JsonIgnore] public TrainingNumbers Numbers { get; init; } = Untrained;

    /// <summary>Of <see cref="Numbers"/>: a document holds each beside the report's other values.</summary>
    public int Samples { get => Numbers.Samples; init => Numbers = Numbers with { Samples = value }; }

    /// <inheritdoc cref="Samples"/>
    public int Steps { get => Numbers.Steps; init => Numbers = Numbers with { Steps = value }; }

    /// <inheritdoc cref="Samples"/>
    public double MeanLoss { get => Numbers.MeanLoss; init => Numbers = Numbers with { MeanLoss = value }; }

    /// <inheritdoc cref="Samples"/>
    public double ProductNorm { get => Numbers.ProductNorm; init => Numbers = Numbers with { ProductNorm = value }; }

    /// <inheritdoc cref="Samples"/>
    public GateUse? GateUse { get => Numbers.GateUse; init => Numbers = Numbers with { GateUse = value }; }

    /// <summary>Whether the failure is an update that was refused.</summary>
    [Id(8)] public bool Refused { get; init; }

    /// <summary>What has to be known of its training rows; null for nothing.</summary>
    [Id(9)] public IReadOnlyList<DataNote>? Rows { get; init; }
}

/// <summary>What is kept of a scoring report; both are null where the client had no test rows.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.kept-score")]
public sealed record KeptScore([property: Id(0)] ClientScore? Score, [property: Id(1)] string? Failure);

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

    /// <summary>Why a robust rule did not use an update as it came, by client.</summary>
    [Id(3)] public ImmutableDictionary<string, string> Curbed { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>What became of the state of each task; empty where no tensor has scope Task.</summary>
    [Id(4)] public ImmutableDictionary<string, TaskCandidate> Tasks { get; init; } = ImmutableDictionary<string, TaskCandidate>.Empty;
}

/// <summary>What an aggregation gave for a task: a state, or why the one before stays.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.task-candidate")]
public sealed record TaskCandidate
{
    /// <summary>Its state, written under <c>Keys.TaskShared</c>; null where the one before stays.</summary>
    [Id(0)] public BlobRef? Shared { get; init; }

    /// <summary>The server optimizer's state for it; null where the rule remembers nothing, or the one before stays.</summary>
    [Id(1)] public BlobRef? ServerOptimizer { get; init; }

    /// <summary>Agreement of the updates; null where nothing was aggregated.</summary>
    [Id(2)] public double? Coherence { get; init; }

    /// <summary>Why the state before stays; null where there is a new one.</summary>
    [Id(3)] public string? Kept { get; init; }
}

using System.Collections.Immutable;

namespace FedRLora.Abstractions.Messages;

/// <summary>What is asked of a client.</summary>
public enum RoundPhase
{
    /// <summary>Train from the committed shared state.</summary>
    Train,

    /// <summary>Score the candidate shared state with the client's head.</summary>
    Evaluate,
}

/// <summary>A client with the state it owns, by reference: never "latest".</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.member-work")]
public sealed record MemberWork
{
    /// <summary>The client.</summary>
    [Id(0)] public required string ClientId { get; init; }

    /// <summary>Its head in the site's store; null before its first round.</summary>
    [Id(1)] public BlobRef? Head { get; init; }

    /// <summary>Its optimizer state in the site's store; null before its first round.</summary>
    [Id(2)] public BlobRef? Optimizer { get; init; }

    /// <summary>
    /// The round of the head that it owned in the manifest before the last: an older one is asked for by nobody. 0 where there is none.
    /// </summary>
    [Id(3)] public int HeadBefore { get; init; }
}

/// <summary>Work of a site in a phase of a round. Idempotent by (job, round, attempt, phase).</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.site-assignment")]
public sealed record SiteAssignment
{
    /// <summary>The job.</summary>
    [Id(0)] public required string JobId { get; init; }

    /// <summary>The round.</summary>
    [Id(1)] public required int Round { get; init; }

    /// <summary>The attempt at the round.</summary>
    [Id(2)] public required int Attempt { get; init; }

    /// <summary>Train or evaluate.</summary>
    [Id(3)] public required RoundPhase Phase { get; init; }

    /// <summary>The plan in the job's store.</summary>
    [Id(4)] public required BlobRef Plan { get; init; }

    /// <summary>Shared state in the job's store.</summary>
    [Id(5)] public required BlobRef Shared { get; init; }

    /// <summary>
    /// The site's whole part of the cohort in client-id order: groups are cut from it, so that they are the same when sent again.
    /// </summary>
    [Id(6)] public required IReadOnlyList<MemberWork> Members { get; init; }

    /// <summary>Those that have not reported yet; null for all.</summary>
    [Id(7)] public IReadOnlyList<string>? Pending { get; init; }

    /// <summary>Whether earlier work of the job goes on beside this, as in buffered rounds.</summary>
    [Id(8)] public bool Concurrent { get; init; }

    /// <summary>What the run is made with, in the job's store; null where that was not recorded.</summary>
    [Id(9)] public BlobRef? Inputs { get; init; }

    /// <summary>With an export: the engine of the committed round, which names the adapter that the run started from.</summary>
    [Id(10)] public string? Engine { get; init; }

    /// <summary>Clients that train together.</summary>
    [Id(11)] public int GroupSize { get; init; } = 1;

    /// <summary>What the clients of each task share, by task, in the job's store: of the tasks of <see cref="Members"/> alone.</summary>
    [Id(12)] public IReadOnlyDictionary<string, BlobRef> Tasks { get; init; } = ImmutableDictionary<string, BlobRef>.Empty;

    /// <summary>The span that the work is a part of, as W3C's <c>traceparent</c>; null where nobody traces.</summary>
    [Id(13)] public string? TraceParent { get; init; }

    /// <summary>Which clients have spans of their own: <see cref="TracedClients.Bound"/> over the whole cohort.</summary>
    [Id(14)] public ulong TracedUpTo { get; init; } = ulong.MaxValue;

    /// <summary>The sender's <see cref="SiteProtocol.Version"/>; 0 in a message from before there was one.</summary>
    [Id(15)] public int Protocol { get; init; }

    /// <summary>Unless it is <see cref="Concurrent"/>, later work replaces earlier work of the same job.</summary>
    public (int Round, int Attempt, RoundPhase Phase) Order => (Round, Attempt, Phase);
}

/// <summary>What a client reports. Small: tensors travel as blobs.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.client-report")]
public sealed record ClientReport
{
    /// <summary>The round.</summary>
    [Id(0)] public required int Round { get; init; }

    /// <summary>The attempt at the round.</summary>
    [Id(1)] public required int Attempt { get; init; }

    /// <summary>Train or evaluate.</summary>
    [Id(2)] public required RoundPhase Phase { get; init; }

    /// <summary>The client.</summary>
    [Id(3)] public required string ClientId { get; init; }

    /// <summary>Why it failed, in one line; null when it did not.</summary>
    [Id(4)] public string? Failure { get; init; }

    /// <summary>Its update in the job's store.</summary>
    [Id(5)] public BlobRef? Update { get; init; }

    /// <summary>Its new head in the site's store.</summary>
    [Id(6)] public BlobRef? Head { get; init; }

    /// <summary>Its new optimizer state in the site's store.</summary>
    [Id(7)] public BlobRef? Optimizer { get; init; }

    // 8 to 11 and 15 were numbers of the training, one by one.

    /// <summary>What its training gave; of a failed one, how long it waited. Null in a scoring.</summary>
    [Id(16)] public TrainingNumbers? Numbers { get; init; }

    /// <summary>The scoring; null where the client has no test rows.</summary>
    [Id(12)] public ClientScore? Score { get; init; }

    /// <summary>Why a store could not be used, so that there is neither a result nor a failure of the client; null otherwise.</summary>
    [Id(13)] public string? StoreTrouble { get; init; }

    /// <summary>What has to be known of its training rows; null for nothing.</summary>
    [Id(14)] public IReadOnlyList<DataNote>? Notes { get; init; }
}

/// <summary>Asks a site whether all is there, and durable, that its clients reported: 1,000 clients are some 250 kB.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.site-confirmation")]
public sealed record SiteConfirmation
{
    /// <summary>The round that is about to be closed.</summary>
    [Id(0)] public required int Round { get; init; }

    /// <summary>The attempt at the round.</summary>
    [Id(1)] public required int Attempt { get; init; }

    /// <summary>The clients in ordinal order.</summary>
    [Id(2)] public required IReadOnlyList<ClientFiles> Clients { get; init; }

    /// <summary>The span that it is a part of, as W3C's <c>traceparent</c>; null where nobody traces.</summary>
    [Id(3)] public string? TraceParent { get; init; }
}

/// <summary>What a client wrote in its training; the keys follow from job, site, client, round and attempt.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.client-files")]
public sealed record ClientFiles
{
    /// <summary>The client.</summary>
    [Id(0)] public required string ClientId { get; init; }

    /// <summary>The round its work began in; an earlier one than the site's in buffered rounds.</summary>
    [Id(1)] public required int Round { get; init; }

    /// <summary>The attempt that its work began in.</summary>
    [Id(2)] public required int Attempt { get; init; }

    /// <summary>Its update, in the job's store.</summary>
    [Id(3)] public required BlobDigest Update { get; init; }

    /// <summary>Its head, in the site's store.</summary>
    [Id(4)] public required BlobDigest Head { get; init; }

    /// <summary>Its optimizer state, in the site's store.</summary>
    [Id(5)] public required BlobDigest Optimizer { get; init; }
}

/// <summary>Reports of a site's clients.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.site-report")]
public sealed record SiteReport
{
    /// <summary>The site.</summary>
    [Id(0)] public required string Site { get; init; }

    /// <summary>The reports; a report that was sent before changes nothing.</summary>
    [Id(1)] public required IReadOnlyList<ClientReport> Clients { get; init; }

    /// <summary>The sender's <see cref="SiteProtocol.Version"/>; 0 in a message from before there was one.</summary>
    [Id(2)] public int Protocol { get; init; }
}

/// <summary>What a site is asked about the inputs of its clients.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.inputs-check")]
public sealed record InputsCheck
{
    /// <summary>The plan that says which rows they read, in the job's store.</summary>
    [Id(0)] public required BlobRef Plan { get; init; }

    /// <summary>What the run is made with, in the job's store; null where that was not recorded.</summary>
    [Id(1)] public BlobRef? Inputs { get; init; }

    /// <summary>The clients.</summary>
    [Id(2)] public required IReadOnlyList<string> Clients { get; init; }

    /// <summary>The committed round whose rows are compared; null for the last.</summary>
    [Id(3)] public int? Round { get; init; }

    /// <summary>The committed round after which what is there now counts; null where nothing is written down.</summary>
    [Id(4)] public int? AcceptAfter { get; init; }

    /// <summary>Clients that have worked, so that it is known which rows they read.</summary>
    [Id(5)] public IReadOnlyList<string> Worked { get; init; } = [];
}

/// <summary>What a site found.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.inputs-found")]
public sealed record InputsFound
{
    /// <summary>How this silo's base differs, in one line; null where it does not.</summary>
    [Id(0)] public string? Base { get; init; }

    /// <summary>How rows differ, in one line, by client; empty where none do.</summary>
    [Id(1)] public required IReadOnlyDictionary<string, string> Rows { get; init; }

    /// <summary>Whether something is missing or cannot be read: to allow the change is of no use then.</summary>
    [Id(2)] public bool IsUnreadable { get; init; }
}

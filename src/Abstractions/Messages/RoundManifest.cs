using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Messages;

/// <summary>Digest and length of a blob whose key follows from where it is named.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.blob-digest")]
public sealed record BlobDigest([property: Id(0)] string Sha256, [property: Id(1)] long SizeBytes);

/// <summary>What became of a client in a round.</summary>
public enum ClientOutcome
{
    /// <summary>Not drawn into the cohort.</summary>
    NotSelected,

    /// <summary>Its update is in the aggregate.</summary>
    Trained,

    /// <summary>It reported a failure; the reason says why.</summary>
    Failed,

    /// <summary>It was silent when the round closed.</summary>
    Late,

    /// <summary>Its update was refused; the reason says why.</summary>
    Refused,

    /// <summary>Not drawn, because its updates were refused too often.</summary>
    Quarantined,

    /// <summary>Of round 0, in which nobody trains: it was scored.</summary>
    Scored,
}

/// <summary>A client in a committed round.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.manifest-client")]
public sealed record ManifestClient
{
    private static readonly TrainingNumbers Untrained = new();

    /// <summary>Its id.</summary>
    [Id(0)] public required string Id { get; init; }

    /// <summary>What became of it.</summary>
    [Id(1)] public required ClientOutcome Outcome { get; init; }

    /// <summary>Why it failed.</summary>
    [Id(2)] public string? Reason { get; init; }

    /// <summary>Its normalized share in the mean; 0 where it has none.</summary>
    [Id(3)] public double Weight { get; init; }

    /// <summary>Its update, deleted after the commit.</summary>
    [Id(4)] public BlobDigest? Update { get; init; }

    /// <summary>The round its head was trained in; 0 before its first.</summary>
    [Id(5)] public int HeadRound { get; init; }

    /// <summary>The head it owns; null before its first round.</summary>
    [Id(6)] public BlobDigest? Head { get; init; }

    /// <summary>Its optimizer state; null before its first round.</summary>
    [Id(7)] public BlobDigest? Optimizer { get; init; }

    // 8 to 11 were numbers of the training, one by one.

    /// <summary>What its training gave, as everyone may see it.</summary>
    [Id(20), JsonIgnore] public TrainingNumbers Numbers { get; init; } = Untrained;

    /// <summary>Of <see cref="Numbers"/>: a document holds each beside the client's other values.</summary>
    public int Samples { get => Numbers.Samples; init => Numbers = Numbers with { Samples = value }; }

    /// <inheritdoc cref="Samples"/>
    public int Steps { get => Numbers.Steps; init => Numbers = Numbers with { Steps = value }; }

    /// <inheritdoc cref="Samples"/>
    public double MeanLoss { get => Numbers.MeanLoss; init => Numbers = Numbers with { MeanLoss = value }; }

    /// <inheritdoc cref="Samples"/>
    public double ProductNorm { get => Numbers.ProductNorm; init => Numbers = Numbers with { ProductNorm = value }; }

    /// <inheritdoc cref="Samples"/>
    public GateUse? GateUse { get => Numbers.GateUse; init => Numbers = Numbers with { GateUse = value }; }

    /// <summary>The scoring of this round; null in a round that was not scored.</summary>
    [Id(12)] public ClientScore? Score { get; init; }

    /// <summary>Why it could not be scored in a round that was.</summary>
    [Id(13)] public string? ScoreReason { get; init; }

    /// <summary>
    /// Rounds between the state its update started from and the one before this; null for none, as in synchronous rounds.
    /// </summary>
    [Id(14)] public int? Staleness { get; init; }

    /// <summary>Updates refused in a row, up to this round; null for none.</summary>
    [Id(15)] public int? Refusals { get; init; }

    /// <summary>The last round for which it is left out; null where it is not.</summary>
    [Id(16)] public int? QuarantinedUntil { get; init; }

    /// <summary>Why a robust rule did not use its update as it came; null where it did.</summary>
    [Id(17)] public string? Curbed { get; init; }

    /// <summary>
    /// <c>changed</c> where other rows than before were allowed from this round on; null where they are what they were. No digest: it
    /// would confirm guesses.
    /// </summary>
    [Id(18)] public string? Rows { get; init; }

    /// <summary>What has to be known of its training rows; null for nothing.</summary>
    [Id(19)] public IReadOnlyList<DataNote>? Notes { get; init; }

    /// <summary>Its normalized share in the mean over the clients of its task; null where it has none.</summary>
    [Id(21)] public double? TaskWeight { get; init; }
}

/// <summary>What the clients of a task share in a committed round: their tensors of scope Task.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.manifest-task")]
public sealed record ManifestTask
{
    /// <summary>The task.</summary>
    [Id(0)] public required string Task { get; init; }

    /// <summary>The round that its state was made in, which names the blob; an earlier one where it was kept.</summary>
    [Id(1)] public required int Round { get; init; }

    /// <summary>In how many rounds the state has moved: the staleness of work within a task is counted in them.</summary>
    [Id(2)] public required int Version { get; init; }

    /// <summary>Its state.</summary>
    [Id(3)] public required BlobDigest Shared { get; init; }

    /// <summary>The server optimizer's state for it; null where the rule remembers nothing.</summary>
    [Id(4)] public BlobDigest? ServerOptimizer { get; init; }

    /// <summary>
    /// As <see cref="RoundManifest.Coherence"/>, of the updates of the task's clients; null where nothing was aggregated.
    /// </summary>
    [Id(5)] public double? Coherence { get; init; }

    /// <summary>Why the state stayed as it was in this round; null where it moved, and in round 0.</summary>
    [Id(6)] public string? Kept { get; init; }
}

/// <summary>The scoring of committed shared state with the committed head.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.client-score")]
public sealed record ClientScore
{
    /// <summary>The metric's name, as a plan writes it.</summary>
    [Id(0)] public required string Metric { get; init; }

    /// <summary>Its value.</summary>
    [Id(1)] public required double Value { get; init; }

    /// <summary>Mean completion loss per token.</summary>
    [Id(2)] public required double Loss { get; init; }

    /// <summary>Rows scored.</summary>
    [Id(3)] public required int Rows { get; init; }

    /// <summary>What the best constant answer scores on the same rows; null where none can be compared.</summary>
    [Id(4)] public double? MajorityShare { get; init; }

    /// <summary>The labels that were told apart, by a digest; null without labels.</summary>
    [Id(5)] public string? Frame { get; init; }

    /// <summary>What has to be known of its test rows; null for nothing.</summary>
    [Id(6)] public IReadOnlyList<DataNote>? Notes { get; init; }

    /// <summary>Standard error of the value over the rows; null where it cannot be told.</summary>
    [Id(7)] public double? StandardError { get; init; }

    /// <summary>The frozen base on the same rows; null where it could not be scored.</summary>
    [Id(8)] public ScoreComparison? Base { get; init; }

    /// <summary>The label that makes up 95 % of the answers or more; null where there is none.</summary>
    [Id(9)] public string? Always { get; init; }
}

/// <summary>
/// A committed round: <c>jobs/{job}/rounds/{n}/manifest-{sha256}.json</c>, immutable, a link of a hash chain. It holds no time, host,
/// job id, duration or attempt, so that runs can be compared by digest.
/// </summary>
[GenerateSerializer, Immutable, Alias("fedrlora.round-manifest")]
public sealed record RoundManifest
{
    /// <summary>0 for the start, then 1, 2, ...</summary>
    [Id(0)] public required int Round { get; init; }

    /// <summary>SHA-256 of plan.yaml.</summary>
    [Id(1)] public required string PlanSha256 { get; init; }

    /// <summary>SHA-256 of the previous round's manifest; null for round 0.</summary>
    [Id(2)] public string? Previous { get; init; }

    /// <summary>The shared state of this round.</summary>
    [Id(3)] public required BlobDigest Shared { get; init; }

    /// <summary>The server optimizer's state of this round; null where the rule remembers nothing.</summary>
    [Id(4)] public BlobDigest? ServerOptimizer { get; init; }

    /// <summary>
    /// How far the clients' updates x_k agree: |sum p_k x_k| / sum p_k |x_k|, the length of the weighted mean over the weighted mean
    /// length; null where nothing was aggregated.
    /// </summary>
    [Id(5)] public double? Coherence { get; init; }

    /// <summary>The engine of the coordinator's silo: what the bits depend on besides the plan.</summary>
    [Id(7)] public string? Engine { get; init; }

    /// <summary>The frozen base that the round was made with; null in rounds of versions that did not record it.</summary>
    [Id(8)] public BaseParts? Base { get; init; }

    /// <summary>Every task of the plan, in ordinal order; null where no tensor has scope Task.</summary>
    [Id(9)] public IReadOnlyList<ManifestTask>? Tasks { get; init; }

    /// <summary>Every client of the plan, in client-id order.</summary>
    [Id(6)] public required IReadOnlyList<ManifestClient> Clients { get; init; }

    /// <summary>The bytes that are stored and digested.</summary>
    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, ManifestJson.Default.RoundManifest);

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="BadInputException">The bytes are no manifest.</exception>
    public static RoundManifest Parse(ReadOnlySpan<byte> bytes, string name)
    {
        try
        {
            return JsonSerializer.Deserialize(bytes, ManifestJson.Default.RoundManifest)
                ?? throw new BadInputException($"{name}: not a round manifest.");
        }
        catch (JsonException e)
        {
            throw new BadInputException($"{name}: not a round manifest: {e.Message}", e);
        }
    }

    /// <summary>Lower-case hexadecimal SHA-256.</summary>
    public static string Digest(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}

/// <summary><c>jobs/{job}/current.json</c>: the only truth about what is committed.</summary>
public sealed record CurrentRound
{
    /// <summary>The last committed round.</summary>
    public required int Round { get; init; }

    /// <summary>SHA-256 of its manifest: the digest of the run so far.</summary>
    public required string ManifestSha256 { get; init; }

    /// <summary>The bytes that are stored, sealed: nothing else names them.</summary>
    public byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, ManifestJson.Default.CurrentRound));

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="BadInputException">The bytes are no such record, or were changed.</exception>
    public static CurrentRound Parse(ReadOnlySpan<byte> bytes, string name)
    {
        if (SealedJson.Check(bytes) is { } problem) throw new BadInputException($"{name} {problem}.");
        try
        {
            return JsonSerializer.Deserialize(bytes, ManifestJson.Default.CurrentRound)
                ?? throw new BadInputException($"{name}: not a commit pointer.");
        }
        catch (JsonException e)
        {
            throw new BadInputException($"{name}: not a commit pointer: {e.Message}", e);
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n", UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(RoundManifest))]
[JsonSerializable(typeof(CurrentRound))]
internal sealed partial class ManifestJson : JsonSerializerContext;

using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Inputs;

/// <summary>What the rounds of a run are made with from some round on.</summary>
/// <param name="After">The last round that was committed before it counted; -1 for the run's start.</param>
/// <param name="Base">The frozen base.</param>
/// <param name="ChangedRows">Clients whose rows became others here; their digests stay at their sites.</param>
public sealed record MadeWithSince(int After, BaseDigest Base, IReadOnlyList<string> ChangedRows);

/// <summary>
/// <c>inputs.json</c>, sealed: what a run was made with besides its plan. What was allowed to change is added, never replaced, so that
/// each round can be told by it; manifests hold the digest of each part.
/// </summary>
/// <param name="Since">By round, oldest first; never empty.</param>
public sealed record MadeWith(IReadOnlyList<MadeWithSince> Since)
{
    /// <summary>What counts now.</summary>
    [JsonIgnore]
    public BaseDigest Base => Since[^1].Base;

    /// <summary>The start of a run, or of its record where <paramref name="after"/> was committed before anything was recorded.</summary>
    public static MadeWith Start(BaseDigest digest, IEnumerable<string>? changedRows = null, int after = -1) =>
        new([new MadeWithSince(after, digest, Sorted(changedRows ?? []))]);

    /// <summary>What a committed round was made with; null for rounds from before it was recorded.</summary>
    public BaseDigest? BaseOf(int round) => Since.LastOrDefault(one => one.After < round)?.Base;

    /// <summary>
    /// How a base differs from the one that a manifest names, where the record with the names of its files is lost; null where it does
    /// not.
    /// </summary>
    public static string? Change(BaseParts? committed, BaseDigest now, string model, string run) =>
        committed?.DifferingFrom(now.Parts) is { Count: > 0 } parts
        ? $"{model}: {string.Join(" and ", parts)} {(parts is ["configuration"] or ["tokenizer"] ? "is" : "are")} not what run {run} was made with"
        : null;

    /// <summary>The same run with other inputs from the round after <paramref name="after"/> on.</summary>
    public MadeWith Changed(int after, BaseDigest digest, IEnumerable<string> rows)
    {
        // allowed twice before a round came of it
        var before = Since.Where(one => one.After == after).SelectMany(static one => one.ChangedRows);
        return new([.. Since.Where(one => one.After < after), new MadeWithSince(after, digest, Sorted(before.Concat(rows)))]);
    }

    /// <summary>The manifest with what its round was made with: the base, and whose rows are others than in the round before.</summary>
    public RoundManifest Mark(RoundManifest manifest)
    {
        var changed = Since.Where(one => one.After == manifest.Round - 1).SelectMany(static one => one.ChangedRows)
            .ToHashSet(StringComparer.Ordinal);
        return manifest with
        {
            Base = BaseOf(manifest.Round)?.Parts,
            Clients = changed.Count == 0 ? manifest.Clients
                : [.. manifest.Clients.Select(client => changed.Contains(client.Id) ? client with { Rows = "changed" } : client)],
        };
    }

    /// <summary>Reads the document at a key; null where a run has none.</summary>
    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static async Task<(MadeWith Document, BlobRef Blob)?> ReadAsync(IBlobStore store, string key,
        CancellationToken cancellationToken) =>
        await store.ReadBytesAsync(key, cancellationToken) is { } bytes
            ? (Parse(bytes, key), new BlobRef(key, RoundManifest.Digest(bytes), bytes.Length)) : null;

    /// <summary>Writes it.</summary>
    public async Task<BlobRef> WriteAsync(IBlobStore store, string key, CancellationToken cancellationToken) =>
        (await store.WriteBytesAsync(key, SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, InputsJson.Default.MadeWith)),
            WriteCondition.Any, cancellationToken)).Ref;

    /// <summary>Reads what <see cref="WriteAsync"/> wrote.</summary>
    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static MadeWith Parse(byte[] bytes, string key) =>
        JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), InputsJson.Default.MadeWith) is { Since.Count: > 0 } document
        ? document
        : throw new CorruptBlobException($"{key} does not say what the run was made with.");

    private static string[] Sorted(IEnumerable<string> clients) =>
        [.. clients.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
}

/// <summary>Salted digests of a client's rows from some round on.</summary>
/// <param name="After">As in <see cref="MadeWithSince"/>.</param>
/// <param name="Train">Of the rows it trains on; null where it has not been asked to yet.</param>
/// <param name="Test">Of the rows it is scored on; null where it has not been asked to yet.</param>
internal sealed record RowsSince(int After, string? Train, string? Test);

/// <summary><c>rows.json</c> in a site's own store, sealed.</summary>
/// <param name="Salt">Drawn for this run and client, in hexadecimal; it is known to the site alone.</param>
/// <param name="Since">By round, oldest first; never empty.</param>
internal sealed record RowsRecord(string Salt, IReadOnlyList<RowsSince> Since)
{
    private const int SaltBytes = 32;

    public static RowsRecord Fresh() =>
        new(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(SaltBytes)), [new RowsSince(-1, null, null)]);

    /// <summary>What a committed round was made with; null for what counts now.</summary>
    public RowsSince Of(int? round) => round is { } n ? Since.LastOrDefault(one => one.After < n) ?? Since[0] : Since[^1];

    /// <summary>The same record with other digests from the round after <paramref name="after"/> on.</summary>
    public RowsRecord With(int after, string? train, string? test) =>
        this with { Since = [.. Since.Where(one => one.After < after), new RowsSince(after, train, test)] };

    public byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, InputsJson.Default.RowsRecord));

    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static RowsRecord Parse(byte[] bytes, string key) =>
        JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), InputsJson.Default.RowsRecord) is { Since.Count: > 0 } record
        ? record
        : throw new CorruptBlobException($"{key} holds no digests of rows.");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n",
    UseStringEnumConverter = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(MadeWith))]
[JsonSerializable(typeof(RowsRecord))]
internal sealed partial class InputsJson : JsonSerializerContext;

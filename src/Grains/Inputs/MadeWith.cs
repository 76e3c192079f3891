using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

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
    /// What the manifests of a chain tell of it: digests of parts without the names of files, and whose rows became others. Null where
    /// they tell nothing.
    /// </summary>
    /// <param name="chain">Oldest first.</param>
    public static MadeWith? Of(IEnumerable<RoundManifest> chain)
    {
        MadeWith? made = null;
        foreach (var manifest in chain.Where(static manifest => manifest.Base is not null))
        {
            var rows = manifest.Clients.Where(static client => client.Rows is not null).Select(static client => client.Id).ToArray();
            if (made is not null && made.Base.Known == manifest.Base && rows.Length == 0) continue;
            made = (made ?? new MadeWith([])).Changed(manifest.Round - 1, new BaseDigest([], manifest.Base), rows);
        }

        return made;
    }

    /// <summary>The same record where a round is the last again: what was allowed after a later one is gone with it.</summary>
    public MadeWith Until(int last) =>
        new([Since[0] with { After = Math.Min(Since[0].After, last) }, .. Since.Skip(1).Where(one => one.After <= last)]);

    /// <summary>Why it cannot belong to a committed round; null where it can.</summary>
    public string? Contradiction(RoundManifest manifest) =>
        manifest.Base is { } named && BaseOf(manifest.Round)?.Parts != named
            ? $"names another base than the manifest of round {manifest.Round}"
            : null;

    /// <summary>Clients that have worked since it was recorded, as far as a manifest tells.</summary>
    public IReadOnlyList<string> Worked(RoundManifest? manifest)
    {
        if (manifest is null) return [];
        var unrecorded = Math.Max(0, Since[0].After); // the last round of which nothing is known
        return
        [
            .. manifest.Clients.Where(client => client.HeadRound > unrecorded
                || (client.Outcome == ClientOutcome.Trained && manifest.Round > unrecorded)).Select(static client => client.Id),
        ];
    }

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

    /// <summary>What a job is made with; null where that was not recorded.</summary>
    /// <param name="store">The job's store.</param>
    /// <param name="job">The job.</param>
    /// <param name="last">Its last committed round; null before the first.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">It was changed, or is missing or another than the manifest tells.</exception>
    public static async Task<(MadeWith Document, BlobRef Blob)?> RequireAsync(IBlobStore store, string job, RoundManifest? last,
        CancellationToken cancellationToken)
    {
        var found = await RequireForAsync(store, job, last, cancellationToken);
        if (found is not var (made, blob)) return null;
        var committed = last?.Round ?? -1;
        return made.Since[^1].After <= committed ? found : throw new CorruptBlobException(
            $"{blob.Key} tells of a change after round {made.Since[^1].After}, which is not committed; {WayOut.Of(blob.Key)}.");
    }

    /// <summary>As <see cref="RequireAsync"/>, for a committed round that need not be the last.</summary>
    /// <exception cref="CorruptBlobException">It was changed, or is missing or another than the manifest tells.</exception>
    public static async Task<(MadeWith Document, BlobRef Blob)?> RequireForAsync(IBlobStore store, string job, RoundManifest? manifest,
        CancellationToken cancellationToken)
    {
        var key = Keys.Inputs(job);
        var found = await ReadAsync(store, key, cancellationToken);
        var problem = manifest is null ? null
            : found is var (made, _) ? made.Contradiction(manifest)
            : manifest.Base is null ? null : $"is missing, but the manifest of round {manifest.Round} names a base";
        return problem is null ? found : throw new CorruptBlobException($"{key} {problem}; {WayOut.Of(key)}.");
    }

    /// <summary>Reads the document at a key; null where a run has none.</summary>
    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static async Task<(MadeWith Document, BlobRef Blob)?> ReadAsync(IBlobStore store, string key,
        CancellationToken cancellationToken) =>
        await store.ReadBytesAsync(key, cancellationToken) is { } bytes
            ? (Parse(bytes, key), new BlobRef(key, RoundManifest.Digest(bytes), bytes.Length)) : null;

    /// <summary>Writes it.</summary>
    public async Task<BlobRef> WriteAsync(IBlobStore store, string key, CancellationToken cancellationToken) =>
        (await store.WriteDocumentAsync(key, ToBytes(), cancellationToken)).Ref;

    /// <summary>What <see cref="Parse"/> reads.</summary>
    public byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, InputsJson.Default.MadeWith));

    /// <summary>Reads what <see cref="WriteAsync"/> wrote.</summary>
    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static MadeWith Parse(byte[] bytes, string key) =>
        InputsJson.Read(bytes, key, InputsJson.Default.MadeWith) is { Since.Count: > 0 } document
        ? document
        : throw new CorruptBlobException($"{key} does not say what the run was made with; {WayOut.Of(key)}.");

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

    /// <summary>The record without changes that the run does not know of (any more): they were allowed after rounds that it lost.</summary>
    public RowsRecord KnownTo(MadeWith? made, string client) => made is null ? this : this with
    {
        Since =
        [
            Since[0],
            .. Since.Skip(1).Where(one => made.Since.Any(known => known.After == one.After && known.ChangedRows.Contains(client))),
        ],
    };

    /// <summary>What a committed round was made with; null for what counts now.</summary>
    public RowsSince Of(int? round) => round is { } n ? Since.LastOrDefault(one => one.After < n) ?? Since[0] : Since[^1];

    /// <summary>The same record with other digests from the round after <paramref name="after"/> on.</summary>
    public RowsRecord With(int after, string? train, string? test) =>
        this with { Since = [.. Since.Where(one => one.After < after), new RowsSince(after, train, test)] };

    public byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, InputsJson.Default.RowsRecord));

    public static bool IsReadable(byte[] bytes, string key)
    {
        try
        {
            _ = Parse(bytes, key);
            return true;
        }
        catch (CorruptBlobException)
        {
            return false;
        }
    }

    /// <exception cref="CorruptBlobException">It was changed.</exception>
    public static RowsRecord Parse(byte[] bytes, string key) =>
        InputsJson.Read(bytes, key, InputsJson.Default.RowsRecord) is { Since.Count: > 0 } record
        ? record
        : throw new CorruptBlobException($"{key} holds no digests of rows; {WayOut.Of(key)}.");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n",
    UseStringEnumConverter = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(MadeWith))]
[JsonSerializable(typeof(RowsRecord))]
internal sealed partial class InputsJson : JsonSerializerContext
{
    /// <exception cref="CorruptBlobException">It was changed, or is of another version.</exception>
    public static T? Read<T>(byte[] bytes, string key, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, key), type);
        }
        catch (JsonException e)
        {
            throw new CorruptBlobException($"{key}: {e.Message.TrimEnd('.')}; {WayOut.Of(key)}.");
        }
    }
}

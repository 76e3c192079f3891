using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>Somebody else committed this round with other content.</summary>
public sealed class CommitConflictException(string message) : Exception(message);

/// <summary>
/// The commit protocol of a job: blobs first, then the manifest, then one conditional write of current.json, which alone says
/// what is committed. The key of whatever it names carries a digest, so no writer can change it under the pointer.
/// </summary>
public sealed class CommitLog(IBlobStore store, string job)
{
    private string? _etag;
    private bool _overtaken; // what this log knew is not what is committed: it writes no pointer before it has read again

    /// <summary>What is committed; null before round 0.</summary>
    /// <exception cref="CorruptBlobException">current.json was changed, or is missing although rounds were committed.</exception>
    public async Task<CurrentRound?> ReadAsync(CancellationToken cancellationToken)
    {
        if (await PointerAsync(cancellationToken) is { } current) return current;
        if (await CommitTraces.FindAsync(store, job, cancellationToken) is not { } trace) return null;
        var key = Keys.Current(job); // it is written before any trace, so by now it is there if somebody has just begun the job
        return await PointerAsync(cancellationToken)
            ?? throw new CorruptBlobException($"{key} is missing, but {trace} shows that rounds were committed; {WayOut.Of(key)}.");
    }

    /// <summary>The manifest of a committed round.</summary>
    /// <exception cref="CorruptBlobException">It is missing, or not the one with <paramref name="sha256"/>.</exception>
    public async Task<RoundManifest> ManifestAsync(int round, string sha256, CancellationToken cancellationToken)
    {
        var key = Keys.Manifest(job, round, sha256);
        var bytes = await store.ReadBytesAsync(key, cancellationToken) ?? throw await MissingAsync(key, round, cancellationToken);
        var found = RoundManifest.Digest(bytes);
        if (found != sha256) throw new CorruptBlobException($"{key} has digest {found}, expected {sha256}; {WayOut.Of(key)}.");
        var manifest = RoundManifest.Parse(bytes, key);
        if (manifest.Round == round) return manifest;
        throw new CorruptBlobException($"{key} is the manifest of round {manifest.Round}; {WayOut.Of(key)}.");
    }

    /// <summary>The manifests of committed rounds with their digests, oldest first, each checked against the one that follows it.</summary>
    /// <param name="first">The first.</param>
    /// <param name="last">The last.</param>
    /// <param name="committed">What is committed: <paramref name="last"/> or a later round.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">One is missing, or not what the next one names.</exception>
    public async Task<IReadOnlyList<(RoundManifest Manifest, string Sha256)>> ManifestsAsync(
        int first, int last, CurrentRound committed, CancellationToken cancellationToken)
    {
        var links = new List<(RoundManifest, string)>();
        var sha256 = await NamedAsync(last, committed, cancellationToken);
        for (var round = last; round >= first; round--)
        {
            var manifest = await ManifestAsync(round, sha256, cancellationToken);
            links.Add((manifest, sha256));
            if (round > first) sha256 = Previous(manifest, sha256);
        }

        links.Reverse();
        return links;
    }

    /// <summary>Commits a round whose blobs are written; returns the manifest's digest.</summary>
    /// <exception cref="CommitConflictException">The round, or a later one, was committed by somebody else.</exception>
    public async Task<string> CommitAsync(RoundManifest manifest, CancellationToken cancellationToken)
    {
        if (_overtaken) throw new CommitConflictException($"Round {manifest.Round} belongs to another coordinator.");
        var bytes = manifest.ToBytes();
        var digest = RoundManifest.Digest(bytes);
        await store.WriteBytesAsync(Keys.Manifest(job, manifest.Round, digest), bytes, WriteCondition.Any, cancellationToken);
        await store.MakeDurableAsync(cancellationToken); // states and manifest before the pointer that makes them true
        try
        {
            var current = new CurrentRound { Round = manifest.Round, ManifestSha256 = digest };
            var condition = WriteCondition.Unchanged(_etag);
            _etag = (await store.WriteBytesAsync(Keys.Current(job), current.ToBytes(), condition, cancellationToken)).ETag;
        }
        catch (BlobConflictException)
        {
            await SettleAsync(manifest.Round, digest, cancellationToken);
        }

        await store.MakeDurableAsync(cancellationToken); // before anybody hears of it, or writes what would show that a pointer is lost
        return digest;
    }

    /// <summary>A committed round with how long it took, as far as somebody wrote that down.</summary>
    /// <exception cref="CorruptBlobException">What was written down was changed.</exception>
    public async Task<RoundSummary> SummaryAsync(RoundManifest manifest, string sha256, CancellationToken cancellationToken)
    {
        var key = Keys.Timing(job, manifest.Round);
        var (seconds, timing) = await store.ReadBytesAsync(key, cancellationToken) is { } bytes
            ? TimingDocument.Read(bytes, key) : (0, null);
        return new() { Manifest = manifest, ManifestSha256 = sha256, Seconds = seconds, Timing = timing };
    }

    /// <summary>Writes down how long a round took; no part of any manifest.</summary>
    public Task RecordTimingAsync(int round, double seconds, RoundTiming? timing, CancellationToken cancellationToken) =>
        store.WriteDocumentAsync(Keys.Timing(job, round), TimingDocument.Write(seconds, timing), cancellationToken);

    private async Task<CurrentRound?> PointerAsync(CancellationToken cancellationToken)
    {
        var key = Keys.Current(job);
        await using var blob = await store.OpenAsync(key, cancellationToken);
        (_etag, _overtaken) = (blob?.ETag, false);
        if (blob is null) return null;
        var bytes = BlobStates.RequireSealed(await blob.ReadAsync(cancellationToken), key);
        try
        {
            return CurrentRound.Parse(bytes, key);
        }
        catch (BadInputException e)
        {
            throw new CorruptBlobException($"{e.Message.TrimEnd('.')}; {WayOut.Of(key)}.");
        }
    }

    // The digest of a committed round's manifest: the manifest after it says so, and where a crash left two of that round, the one
    // after that.
    private async Task<string> NamedAsync(int round, CurrentRound committed, CancellationToken cancellationToken)
    {
        if (round == committed.Round) return committed.ManifestSha256;
        var (after, sha256) = (committed.Round, committed.ManifestSha256);
        for (var later = round + 1; later < committed.Round; later++)
        {
            if (await StoredAsync(later, cancellationToken) is not [var only]) continue;
            (after, sha256) = (later, only);
            break;
        }

        for (; after > round; after--) sha256 = Previous(await ManifestAsync(after, sha256, cancellationToken), sha256);
        return sha256;
    }

    private async Task<IReadOnlyList<string>> StoredAsync(int round, CancellationToken cancellationToken)
    {
        var stored = new List<string>();
        await foreach (var key in store.ListAsync(Keys.Round(job, round), cancellationToken))
        {
            if (Keys.ManifestOf(key, job) is { } manifest) stored.Add(manifest.Sha256);
        }

        return stored;
    }

    private string Previous(RoundManifest manifest, string sha256) => manifest.Previous
        ?? throw new CorruptBlobException($"{Keys.Manifest(job, manifest.Round, sha256)} names no manifest before it.");

    private async Task<CorruptBlobException> MissingAsync(string key, int round, CancellationToken cancellationToken)
    {
        var old = Keys.UndigestedManifest(job, round);
        await using var opened = await store.OpenAsync(old, cancellationToken);
        return new CorruptBlobException(opened is null
            ? $"{key} is missing; {WayOut.Of(key)}."
            : $"{old} has no digest in its name, so an older version of this program made the run; go on with that one.");
    }

    // Our own write, whose answer was lost, is a success.
    private async Task SettleAsync(int round, string digest, CancellationToken cancellationToken)
    {
        var committed = await PointerAsync(cancellationToken);
        if (committed?.Round == round && committed.ManifestSha256 == digest) return;
        _overtaken = true;
        throw new CommitConflictException(
            $"Round {round} was committed by another coordinator as {committed?.ManifestSha256 ?? "nothing"}.");
    }
}

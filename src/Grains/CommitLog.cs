using System.Globalization;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>Somebody else committed this round with other content.</summary>
public sealed class CommitConflictException(string message) : Exception(message);

/// <summary>
/// The commit protocol of a job: blobs first, then the manifest, then one conditional write of current.json, which alone says
/// what is committed.
/// </summary>
public sealed class CommitLog(IBlobStore store, string job)
{
    private string? _etag;

    /// <summary>What is committed; null before round 0.</summary>
    /// <exception cref="CorruptBlobException">current.json was changed.</exception>
    public async Task<CurrentRound?> ReadAsync(CancellationToken cancellationToken)
    {
        var key = Keys.Current(job);
        await using var blob = await store.OpenAsync(key, cancellationToken);
        _etag = blob?.ETag;
        if (blob is null) return null;
        return CurrentRound.Parse(BlobStates.RequireSealed(await blob.ReadAsync(cancellationToken), key), key);
    }

    /// <summary>The manifest of a committed round.</summary>
    /// <exception cref="CorruptBlobException">It is missing, or not the one with <paramref name="sha256"/>.</exception>
    public async Task<RoundManifest> ManifestAsync(int round, string? sha256, CancellationToken cancellationToken)
    {
        var key = Keys.Manifest(job, round);
        var bytes = await store.ReadBytesAsync(key, cancellationToken) ?? throw new CorruptBlobException($"{key} is missing.");
        var found = RoundManifest.Digest(bytes);
        if (sha256 is not null && found != sha256) throw new CorruptBlobException($"{key} has digest {found}, expected {sha256}.");
        return RoundManifest.Parse(bytes, key);
    }

    /// <summary>The manifests of committed rounds with their digests, oldest first, each checked against the one that follows it.</summary>
    /// <param name="first">The first.</param>
    /// <param name="last">The last.</param>
    /// <param name="committed">What is committed: <paramref name="last"/> or a later round.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">One is missing, or not what the next one names.</exception>
    public async Task<IReadOnlyList<(RoundManifest Manifest, string Sha256)>> ManifestsAsync(int first, int last, CurrentRound committed, CancellationToken cancellationToken)
    {
        var links = new List<(RoundManifest, string)>();
        var sha256 = last == committed.Round ? committed.ManifestSha256 : (await ManifestAsync(last + 1, null, cancellationToken)).Previous;
        for (var round = last; round >= first; round--)
        {
            var manifest = await ManifestAsync(round, sha256, cancellationToken);
            links.Add((manifest, sha256 ?? throw new CorruptBlobException($"{Keys.Manifest(job, round + 1)} names no manifest before it.")));
            sha256 = manifest.Previous;
        }

        links.Reverse();
        return links;
    }

    /// <summary>Commits a round whose blobs are written; returns the manifest's digest.</summary>
    /// <exception cref="CommitConflictException">The round, or a later one, was committed by somebody else.</exception>
    public async Task<string> CommitAsync(RoundManifest manifest, CancellationToken cancellationToken)
    {
        var bytes = manifest.ToBytes();
        var digest = RoundManifest.Digest(bytes);
        var key = Keys.Manifest(job, manifest.Round);
        // A manifest that current.json does not name is what a crash left; it is replaced by the replayed round's, normally byte for byte.
        if (await store.ReadBytesAsync(key, cancellationToken) is not { } left || !left.AsSpan().SequenceEqual(bytes))
        {
            if (await ReadAsync(cancellationToken) is { } committed && committed.Round >= manifest.Round) return Settle(committed, manifest.Round, digest);
            await store.DeleteAsync(key, cancellationToken);
            await store.WriteBytesAsync(key, bytes, WriteCondition.Absent, cancellationToken);
        }

        await store.MakeDurableAsync(cancellationToken); // states and manifest before the pointer that makes them true
        try
        {
            var current = new CurrentRound { Round = manifest.Round, ManifestSha256 = digest };
            var condition = _etag is { } etag ? WriteCondition.Match(etag) : WriteCondition.Absent;
            _etag = (await store.WriteBytesAsync(Keys.Current(job), current.ToBytes(), condition, cancellationToken)).ETag;
            await store.MakeDurableAsync(cancellationToken); // before anybody hears of it
            return digest;
        }
        catch (BlobConflictException)
        {
            return Settle(await ReadAsync(cancellationToken), manifest.Round, digest);
        }
    }

    /// <summary>Seconds a committed round took; 0 where it was not noted.</summary>
    /// <exception cref="CorruptBlobException">The note was changed.</exception>
    public async Task<double> SecondsAsync(int round, CancellationToken cancellationToken) =>
        await store.ReadBytesAsync(Keys.Timing(job, round), cancellationToken) is { } bytes && JsonDocument.Parse(BlobStates.RequireSealed(bytes, Keys.Timing(job, round))).RootElement.TryGetProperty("seconds", out var seconds)
            ? seconds.GetDouble()
            : 0;

    /// <summary>Notes how long a round took; no part of any manifest.</summary>
    public Task NoteSecondsAsync(int round, double seconds, CancellationToken cancellationToken) =>
        store.WriteDocumentAsync(Keys.Timing(job, round), SealedJson.Seal(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{{\n  \"seconds\": {seconds:R}\n}}"))), cancellationToken);

    private static string Settle(CurrentRound? committed, int round, string digest) => committed?.Round == round && committed.ManifestSha256 == digest
        ? digest // our own write, whose answer was lost
        : throw new CommitConflictException($"Round {round} was committed by another coordinator as {committed?.ManifestSha256 ?? "nothing"}.");
}

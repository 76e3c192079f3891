using System.Collections.Immutable;
using System.Globalization;
using System.Security.Cryptography;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Runs;

namespace FedRLora.Grains.Store;

/// <summary>A blob is missing or its content is not what was named.</summary>
[GenerateSerializer, Alias("fedrlora.corrupt-blob")]
public sealed class CorruptBlobException(string message) : Exception(message)
{
    /// <summary>
    /// What is wrong with a run or with what was given, wherever an activation that failed over it hid it; null where something else is.
    /// </summary>
    public static Exception? OrBadInputIn(Exception? exception) =>
        exception is null or CorruptBlobException or BadInputException ? exception : OrBadInputIn(exception.InnerException);
}

/// <summary>States and small documents as blobs. Every read by reference checks the digest.</summary>
public static class BlobStates
{
    /// <summary>Writes a state as safetensors.</summary>
    public static async Task<BlobRef> WriteStateAsync(
        this IBlobStore store, string key, AdapterState state, IReadOnlyDictionary<string, string> metadata,
        CancellationToken cancellationToken)
    {
        var written = await store.WriteAsync(
            key, (stream, token) => Task.Run(() => SafetensorsCodec.Write(state, metadata, stream), token), WriteCondition.Any,
            cancellationToken);
        return written.Ref;
    }

    /// <summary>Writes a state under a key that follows from its digest, without metadata.</summary>
    public static async Task<BlobRef> WriteStateAsync(
        this IBlobStore store, Func<string, string> keyOf, AdapterState state, CancellationToken cancellationToken)
    {
        var sha256 = await Task.Run(() => DigestOf(state), cancellationToken);
        var written = await store.WriteStateAsync(keyOf(sha256), state, NoMetadata, cancellationToken);
        if (written.Sha256 == sha256) return written;
        throw new CorruptBlobException($"{written.Key} was written with digest {written.Sha256}, expected {sha256}.");
    }

    /// <summary>Reads a state and checks its digest.</summary>
    /// <param name="store">The store.</param>
    /// <param name="blob">The blob.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">The blob is missing or has another digest.</exception>
    public static async Task<AdapterState> ReadStateAsync(
        this IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(blob.Key, cancellationToken)
            ?? throw new CorruptBlobException($"{blob.Key} is missing; it should hold {blob.Sha256}.");
        return await Task.Run(() => Decode(opened, blob), cancellationToken);
    }

    /// <summary>Reads a whole small blob; null where there is none.</summary>
    public static async Task<byte[]?> ReadBytesAsync(this IBlobStore store, string key, CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(key, cancellationToken);
        return opened is null ? null : await opened.ReadAsync(cancellationToken);
    }

    /// <summary>The whole content of an open small blob.</summary>
    public static async Task<byte[]> ReadAsync(this OpenedBlob opened, CancellationToken cancellationToken)
    {
        using var copy = new MemoryStream();
        await opened.Content.CopyToAsync(copy, cancellationToken);
        return copy.ToArray();
    }

    /// <summary>The digest of the whole content of an open blob.</summary>
    internal static async Task<string> DigestAsync(this OpenedBlob opened, CancellationToken cancellationToken) =>
        Convert.ToHexStringLower(await SHA256.HashDataAsync(opened.Content, cancellationToken));

    /// <summary>A document that carries its own digest, unchanged.</summary>
    /// <exception cref="CorruptBlobException">It was changed since it was written.</exception>
    public static byte[] RequireSealed(byte[] bytes, string key) =>
        SealedJson.Check(bytes) is { } problem ? throw new CorruptBlobException($"{key} {problem}; {WayOut.Of(key)}.") : bytes;

    /// <summary>Reads a whole small blob and checks its digest.</summary>
    /// <exception cref="CorruptBlobException">The blob is missing or has another digest.</exception>
    public static async Task<byte[]> ReadBytesAsync(this IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        var bytes = await store.ReadBytesAsync(blob.Key, cancellationToken)
            ?? throw new CorruptBlobException($"{blob.Key} is missing; it should hold {blob.Sha256}.");
        var found = RoundManifest.Digest(bytes);
        return found == blob.Sha256 ? bytes : throw Mismatch(blob, found);
    }

    /// <summary>What is wrong with a blob as far as its presence and its length show; null where nothing is.</summary>
    public static async Task<string?> MissingAsync(this IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(blob.Key, cancellationToken);
        return Missing(opened, blob);
    }

    /// <summary>What is wrong with a blob, its content included; null where nothing is.</summary>
    public static async Task<string?> WrongAsync(this IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        await using var opened = await store.OpenAsync(blob.Key, cancellationToken);
        if (opened is null || opened.SizeBytes != blob.SizeBytes) return Missing(opened, blob);
        var found = await opened.DigestAsync(cancellationToken);
        return found == blob.Sha256 ? null : Mismatch(blob, found).Message;
    }

    private static string? Missing(OpenedBlob? opened, BlobRef blob)
    {
        if (opened is null) return $"{blob.Key} is missing; it should hold {blob.Sha256}.";
        if (opened.SizeBytes == blob.SizeBytes) return null;
        return string.Create(CultureInfo.InvariantCulture, $"{blob.Key} has {opened.SizeBytes} bytes, expected {blob.SizeBytes}.");
    }

    /// <summary>Looks whether a blob is there, as long as it should be; whoever reads it checks its digest.</summary>
    /// <exception cref="CorruptBlobException">It is not.</exception>
    public static async Task RequireAsync(this IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        if (await store.MissingAsync(blob, cancellationToken) is { } problem)
            throw new CorruptBlobException($"{problem.TrimEnd('.')}; {WayOut.Of(blob.Key)}.");
    }

    /// <summary>Writes a small blob.</summary>
    public static Task<WrittenBlob> WriteBytesAsync(
        this IBlobStore store, string key, ReadOnlyMemory<byte> bytes, WriteCondition condition, CancellationToken cancellationToken) =>
        store.WriteAsync(key, (stream, token) => stream.WriteAsync(bytes, token).AsTask(), condition, cancellationToken);

    /// <summary>Writes a small document over whatever is there; a power cut leaves the old one or the new one.</summary>
    public static async Task<WrittenBlob> WriteDocumentAsync(
        this IBlobStore store, string key, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (true)
        {
            string? etag;
            await using (var there = await store.OpenAsync(key, cancellationToken)) etag = there?.ETag;
            try
            {
                return await store.WriteBytesAsync(key, bytes, WriteCondition.Unchanged(etag), cancellationToken);
            }
            catch (BlobConflictException)
            {
                // written by somebody else in this instant: now it is there, or gone
            }
        }
    }

    /// <summary>What a digest stands for, at its key.</summary>
    public static BlobRef At(this BlobDigest digest, string key) => new(key, digest.Sha256, digest.SizeBytes);

    /// <summary>Digest and length without the key.</summary>
    public static BlobDigest Digest(this BlobRef blob) => new(blob.Sha256, blob.SizeBytes);

    /// <summary>The shared state that a manifest of a job names.</summary>
    public static BlobRef SharedOf(this RoundManifest manifest, string job) =>
        manifest.Shared.At(Keys.Shared(job, manifest.Round, manifest.Shared.Sha256));

    /// <summary>The server optimizer's state that a manifest of a job names; null where it names none.</summary>
    public static BlobRef? ServerOptimizerOf(this RoundManifest manifest, string job) =>
        manifest.ServerOptimizer is { } state ? state.At(Keys.ServerOptimizer(job, manifest.Round, state.Sha256)) : null;

    /// <summary>The state of a task that a manifest of a job names.</summary>
    public static BlobRef SharedOf(this ManifestTask task, string job) =>
        task.Shared.At(Keys.TaskShared(job, task.Round, task.Task, task.Shared.Sha256));

    /// <summary>The server optimizer's state for a task that a manifest of a job names; null where it names none.</summary>
    public static BlobRef? ServerOptimizerOf(this ManifestTask task, string job) => task.ServerOptimizer is { } state
        ? state.At(Keys.TaskServerOptimizer(job, task.Round, task.Task, state.Sha256))
        : null;

    /// <summary>All that clients share as a manifest of a job has it.</summary>
    public static SharedStates StatesOf(this RoundManifest manifest, string job) => new(
        manifest.SharedOf(job),
        (manifest.Tasks ?? []).ToImmutableSortedDictionary(
            static task => task.Task, task => task.SharedOf(job), StringComparer.Ordinal));

    /// <summary>The copy that a fork has of the state of a task of the manifest it starts from.</summary>
    internal static BlobRef OriginSharedOf(this ManifestTask task, string job) =>
        task.Shared.At(Keys.OriginTaskShared(job, task.Task, task.Shared.Sha256));

    /// <summary>The same of the server optimizer's state for it; null where the manifest names none.</summary>
    internal static BlobRef? OriginServerOptimizerOf(this ManifestTask task, string job) =>
        task.ServerOptimizer is { } state ? state.At(Keys.OriginTaskServerOptimizer(job, task.Task, state.Sha256)) : null;

    /// <summary>Every blob that a fork copies of the round it starts from, in the job's store.</summary>
    internal static IEnumerable<BlobRef> OriginStatesOf(this RoundManifest origin, string job) =>
        new[] { origin.OriginSharedOf(job), origin.OriginServerOptimizerOf(job) }
            .Concat((origin.Tasks ?? []).SelectMany(task => new[] { task.OriginSharedOf(job), task.OriginServerOptimizerOf(job) }))
            .OfType<BlobRef>();

    /// <summary>The copy that a fork has of the shared state of the manifest it starts from.</summary>
    internal static BlobRef OriginSharedOf(this RoundManifest origin, string job) =>
        origin.Shared.At(Keys.OriginShared(job, origin.Shared.Sha256));

    /// <summary>The same of the server optimizer's state; null where the manifest names none.</summary>
    internal static BlobRef? OriginServerOptimizerOf(this RoundManifest origin, string job) =>
        origin.ServerOptimizer is { } state ? state.At(Keys.OriginServerOptimizer(job, state.Sha256)) : null;

    private static readonly Dictionary<string, string> NoMetadata = [];

    private static string DigestOf(AdapterState state)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var hashing = new HashingWriter(hash);
        SafetensorsCodec.Write(state, NoMetadata, hashing);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static AdapterState Decode(OpenedBlob opened, BlobRef blob)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var hashing = new HashingReader(opened.Content, hash);
        AdapterState? state = null;
        try
        {
            state = SafetensorsCodec.Read(hashing, opened.SizeBytes, blob.Key).State;
        }
        catch (BadInputException)
        {
            // Not safetensors: the digest below says that this is not the blob that was named.
        }

        hashing.CopyTo(Stream.Null);
        var found = Convert.ToHexStringLower(hash.GetHashAndReset());
        if (found != blob.Sha256) throw Mismatch(blob, found);
        return state ?? throw new CorruptBlobException($"{blob.Key} is not a safetensors file.");
    }

    internal static CorruptBlobException Mismatch(BlobRef blob, string found) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{blob.Key} has digest {found}, expected {blob.Sha256}."));
}

using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Silo.Trackers;

/// <summary>What the job's store remembers of a run in trackers.</summary>
/// <param name="Id">A tag by which it is found there, whoever looks.</param>
/// <param name="Runs">Its run at each server, by the server's address.</param>
internal sealed record TrackedRun(string Id, IReadOnlyDictionary<string, TrackedAt> Runs)
{
    private static readonly JsonSerializerOptions Form = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    /// <summary>Its run at a server; null where there is none that is known.</summary>
    public TrackedAt? At(string server) => Runs.GetValueOrDefault(server);

    /// <summary>Reads it; null where the run was never tracked.</summary>
    public static async Task<TrackedRun?> ReadAsync(IBlobStore store, string run, CancellationToken cancellationToken) =>
        await store.ReadBytesAsync(Keys.Tracked(run), cancellationToken) is { } bytes
            ? JsonSerializer.Deserialize<TrackedRun>(BlobStates.RequireSealed(bytes, Keys.Tracked(run)), Form) : null;

    /// <summary>Reads it, or begins it.</summary>
    public static async Task<TrackedRun> RequireAsync(IBlobStore store, string run, CancellationToken cancellationToken)
    {
        if (await ReadAsync(store, run, cancellationToken) is { } known) return known;
        var begun = new TrackedRun(Guid.NewGuid().ToString("n"), new Dictionary<string, TrackedAt>());
        try
        {
            await store.WriteBytesAsync(Keys.Tracked(run), begun.ToBytes(), WriteCondition.Absent, cancellationToken);
            return begun;
        }
        catch (BlobConflictException)
        {
            return await ReadAsync(store, run, cancellationToken) ?? begun; // another silo was first
        }
    }

    /// <summary>Writes down its run at a server.</summary>
    public async Task<TrackedRun> WriteAsync(
        IBlobStore store, string run, string server, TrackedAt at, CancellationToken cancellationToken)
    {
        var changed = this with { Runs = new Dictionary<string, TrackedAt>(Runs) { [server] = at } };
        await store.WriteDocumentAsync(Keys.Tracked(run), changed.ToBytes(), cancellationToken);
        return changed;
    }

    private byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, Form));
}

/// <summary>A run at a tracker.</summary>
/// <param name="RunId">Its id there.</param>
/// <param name="IsEnded">Whether it has all points and says how the run ended.</param>
internal sealed record TrackedAt(string RunId, bool IsEnded = false);

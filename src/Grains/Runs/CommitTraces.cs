using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>
/// What tells a job whose current.json is lost from one that has committed nothing. A process that dies just before the first write
/// of current.json leaves the manifest and the states of round 0; timings, and manifests and states of later rounds, come after a
/// commit. Updates are no trace: they are of an open round, and what stands in them is checked where they are used.
/// </summary>
public static class CommitTraces
{
    /// <summary>A blob besides current.json that only a job with committed rounds has; null where there is none.</summary>
    public static async Task<string?> FindAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        await foreach (var key in store.ListAsync(Keys.Rounds(job), cancellationToken))
        {
            var isUpdate = key.AsSpan(Keys.Rounds(job).Length).Count('/') > 1;
            if (!isUpdate && !Keys.IsAggregated(key, job, 0)) return key;
        }

        var memory = Keys.Memory(job);
        return await store.ReadBytesAsync(memory, cancellationToken) is { } bytes && MemoryOf(bytes)?.State.Committed >= 0 ? memory : null;
    }

    /// <summary>What a coordinator remembered, in a blob; null where it was changed.</summary>
    internal static JobMemory? MemoryOf(byte[] bytes)
    {
        try
        {
            return SealedJson.Check(bytes) is null ? JsonSerializer.Deserialize<JobMemory>(bytes) : null;
        }
        catch (JsonException)
        {
            return null; // of another version: whoever uses them refuses them
        }
    }
}

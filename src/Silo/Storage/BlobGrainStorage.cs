using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using Orleans.Runtime;
using Orleans.Storage;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Grain state as sealed JSON blobs with conditional writes: it survives a killed silo, which memory storage does not, and a state
/// that was changed on its disk is refused.
/// </summary>
public sealed class BlobGrainStorage(IBlobStore store) : IGrainStorage
{
    /// <inheritdoc/>
    public async Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        var key = KeyOf(stateName, grainId);
        await using var blob = await store.OpenAsync(key);
        var state = blob is null
            ? default
            : JsonSerializer.Deserialize<T>(BlobStates.RequireSealed(await blob.ReadAsync(CancellationToken.None), key));
        grainState.RecordExists = blob is not null;
        grainState.ETag = blob?.ETag;
        grainState.State = state ?? Activator.CreateInstance<T>();
    }

    /// <inheritdoc/>
    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        var key = KeyOf(stateName, grainId);
        var condition = grainState.ETag is { } etag ? WriteCondition.Match(etag) : WriteCondition.Absent;
        try
        {
            var written = await store.WriteBytesAsync(key, SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(grainState.State)),
                condition, CancellationToken.None);
            grainState.ETag = written.ETag;
            grainState.RecordExists = true;
        }
        catch (BlobConflictException e)
        {
            throw new InconsistentStateException($"{key} was written by another activation.", "", grainState.ETag ?? "", e);
        }
    }

    /// <inheritdoc/>
    public async Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        await store.DeleteAsync(KeyOf(stateName, grainId));
        grainState.State = Activator.CreateInstance<T>();
        grainState.ETag = null;
        grainState.RecordExists = false;
    }

    private static string KeyOf(string stateName, GrainId grainId) => Keys.GrainState(stateName, grainId.Key.ToString()!);
}

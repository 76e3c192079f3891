using System.Text.Json;
using FedRLora.Abstractions.Ports;
using Orleans.Runtime;
using Orleans.Storage;

namespace FedRLora.Silo.Storage;

/// <summary>Grain state as JSON blobs with conditional writes: it survives a killed silo, which memory storage does not.</summary>
public sealed class BlobGrainStorage(IBlobStore store) : IGrainStorage
{
    /// <inheritdoc/>
    public async Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        await using var blob = await store.OpenAsync(KeyOf(stateName, grainId));
        grainState.RecordExists = blob is not null;
        grainState.ETag = blob?.ETag;
        grainState.State = blob is null ? Activator.CreateInstance<T>() : await JsonSerializer.DeserializeAsync<T>(blob.Content) ?? Activator.CreateInstance<T>();
    }

    /// <inheritdoc/>
    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        var key = KeyOf(stateName, grainId);
        var condition = grainState.ETag is { } etag ? WriteCondition.Match(etag) : WriteCondition.Absent;
        try
        {
            var written = await store.WriteAsync(key, (stream, token) => JsonSerializer.SerializeAsync(stream, grainState.State, cancellationToken: token), condition);
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

    private static string KeyOf(string stateName, GrainId grainId) => $"grains/{stateName}/{grainId.Key.ToString()}.json";
}

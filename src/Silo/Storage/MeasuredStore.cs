using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>A store whose calls are measured, each until its answer begins.</summary>
internal sealed class MeasuredStore(IBlobStore store, string name) : IBlobStore, IDisposable
{
    /// <inheritdoc/>
    public Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
        CancellationToken cancellationToken = default) =>
        MeasureAsync("write", () => store.WriteAsync(key, content, condition, cancellationToken));

    /// <inheritdoc/>
    public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) =>
        MeasureAsync("read", () => store.OpenAsync(key, cancellationToken));

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> ListAsync(
        string prefix, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await using var keys = store.ListAsync(prefix, cancellationToken).GetAsyncEnumerator(cancellationToken);
        var hasMore = await MeasureAsync("list", () => keys.MoveNextAsync().AsTask());
        for (; hasMore; hasMore = await keys.MoveNextAsync()) yield return keys.Current;
    }

    /// <inheritdoc/>
    public Task DeleteAsync(string key, CancellationToken cancellationToken = default) =>
        MeasureAsync("delete", () => store.DeleteAsync(key, cancellationToken));

    /// <inheritdoc/>
    public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) =>
        MeasureAsync("delete", () => store.DeleteAllAsync(prefix, cancellationToken));

    /// <inheritdoc/>
    public Task MakeDurableAsync(CancellationToken cancellationToken = default) =>
        MeasureAsync("sync", () => store.MakeDurableAsync(cancellationToken));

    /// <inheritdoc/>
    public void Dispose() => (store as IDisposable)?.Dispose();

    private Task<bool> MeasureAsync(string operation, Func<Task> call) => MeasureAsync(operation, async () =>
    {
        await call();
        return true;
    });

    private async Task<T> MeasureAsync<T>(string operation, Func<Task<T>> call)
    {
        var began = Stopwatch.GetTimestamp();
        try
        {
            return await call();
        }
        catch (StoreUnavailableException)
        {
            Telemetry.StoreFailures.Add(1, new("store", name), new("operation", operation));
            throw;
        }
        finally
        {
            Telemetry.StoreDuration.Record(
                Stopwatch.GetElapsedTime(began).TotalSeconds, new("store", name), new("operation", operation));
        }
    }
}

namespace FedRLora.Training.Data;

/// <summary>
/// Values by key up to a total size; the longest unused goes first. A value larger than the bound is not kept. Who asks for what another
/// is loading waits for it; a load that failed or was cancelled leaves nothing behind.
/// </summary>
internal sealed class BoundedCache(long maxSizeBytes)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (object Value, long SizeBytes, long Used)> _entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Task> _loading = new(StringComparer.Ordinal);
    private long _sizeBytes;
    private long _clock;

    /// <summary>The cached value, or what <paramref name="load"/> gives.</summary>
    /// <param name="key">One key is always of one type.</param>
    /// <param name="load">Looks at the caller's token itself; where it is cancelled, the next of those who wait loads.</param>
    /// <param name="sizeBytes">Of a value.</param>
    /// <param name="cancellationToken">Ends the wait for another's load.</param>
    public async Task<T> GetAsync<T>(string key, Func<Task<T>> load, Func<T, long> sizeBytes, CancellationToken cancellationToken)
        where T : class
    {
        while (true)
        {
            var mine = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
            Task? others;
            lock (_lock)
            {
                if (_entries.TryGetValue(key, out var entry))
                {
                    _entries[key] = entry with { Used = ++_clock };
                    return (T)entry.Value;
                }

                if (!_loading.TryGetValue(key, out others)) _loading[key] = mine.Task;
            }

            if (others is null) return await LoadAsync(key, load, sizeBytes, mine);
            try
            {
                return await ((Task<T>)others).WaitAsync(cancellationToken);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                continue; // who loaded it was called off, this caller was not
            }
        }
    }

    private async Task<T> LoadAsync<T>(string key, Func<Task<T>> load, Func<T, long> sizeBytes, TaskCompletionSource<T> waited)
        where T : class
    {
        try
        {
            var value = await load();
            lock (_lock)
            {
                _loading.Remove(key);
                Add(key, value, sizeBytes(value));
            }

            waited.SetResult(value);
            return value;
        }
        catch (Exception exception) // those who wait get it too
        {
            lock (_lock) _loading.Remove(key);
            if (exception is OperationCanceledException cancelled) waited.SetCanceled(cancelled.CancellationToken);
            else waited.SetException(exception);
            _ = waited.Task.Exception; // seen, should nobody wait
            throw;
        }
    }

    private void Add(string key, object value, long size)
    {
        if (size > maxSizeBytes) return;
        _entries.Add(key, (value, size, ++_clock));
        _sizeBytes += size;
        while (_sizeBytes > maxSizeBytes)
        {
            var oldest = _entries.MinBy(static entry => entry.Value.Used);
            _sizeBytes -= oldest.Value.SizeBytes;
            _entries.Remove(oldest.Key);
        }
    }
}

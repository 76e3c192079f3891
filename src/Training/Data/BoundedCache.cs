namespace FedRLora.Training.Data;

/// <summary>Values by key up to a total size; the longest unused goes first. A value larger than the bound is not kept.</summary>
internal sealed class BoundedCache(long maxSizeBytes)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (object Value, long SizeBytes, long Used)> _entries = new(StringComparer.Ordinal);
    private long _clock;

    /// <summary>The cached value, or what <paramref name="load"/> gives; two callers at once may both load.</summary>
    public async Task<T> GetAsync<T>(string key, Func<Task<T>> load, Func<T, long> sizeBytes) where T : class
    {
        lock (_lock)
        {
            if (_entries.TryGetValue(key, out var entry))
            {
                _entries[key] = entry with { Used = ++_clock };
                return (T)entry.Value;
            }
        }

        var value = await load();
        Add(key, value, sizeBytes(value));
        return value;
    }

    private void Add(string key, object value, long size)
    {
        if (size > maxSizeBytes) return;
        lock (_lock)
        {
            _entries[key] = (value, size, ++_clock);
            while (_entries.Values.Sum(static entry => entry.SizeBytes) > maxSizeBytes) _entries.Remove(_entries.MinBy(static entry => entry.Value.Used).Key);
        }
    }
}

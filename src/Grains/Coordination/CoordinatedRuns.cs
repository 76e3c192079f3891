namespace FedRLora.Grains.Coordination;

/// <summary>The runs whose coordinator is on this silo, for what of the silo follows them.</summary>
public sealed class CoordinatedRuns
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _activations = new(StringComparer.Ordinal); // two may hold one run for a moment

    /// <summary>A run is coordinated here from now on, or goes on after it had ended. Handlers do not wait, and do not throw.</summary>
    public event Action<string>? Began;

    /// <summary>All of them.</summary>
    public IReadOnlyList<string> Now
    {
        get
        {
            lock (_gate) return [.. _activations.Keys];
        }
    }

    /// <summary>Whether a run is coordinated here.</summary>
    public bool Has(string run)
    {
        lock (_gate) return _activations.ContainsKey(run);
    }

    /// <summary>A run is coordinated here until the result is disposed.</summary>
    internal IDisposable Add(string run)
    {
        lock (_gate) _activations[run] = _activations.GetValueOrDefault(run) + 1;
        GoesOn(run);
        return new Entry(this, run);
    }

    /// <summary>A run that is coordinated here is not over any more.</summary>
    internal void GoesOn(string run) => Began?.Invoke(run);

    private sealed class Entry(CoordinatedRuns runs, string run) : IDisposable
    {
        private bool _isDisposed;

        public void Dispose()
        {
            lock (runs._gate)
            {
                if (_isDisposed) return;
                _isDisposed = true;
                if (--runs._activations[run] == 0) runs._activations.Remove(run);
            }
        }
    }
}

namespace FedRLora.Training.Lanes;

/// <summary>
/// Memory that several hold at a time. Who does not fit beside those that hold some waits, the first who came first; who asks for more
/// than there is has it alone.
/// </summary>
/// <param name="bytes">All of it.</param>
internal sealed class MemoryShare(long bytes)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<(long Bytes, TaskCompletionSource Granted)> _waiting = new();
    private long _held;
    private int _holders;

    /// <summary>Waits until so much is free, and holds it until what this returns is disposed.</summary>
    public async Task<IDisposable> HoldAsync(long asked, CancellationToken cancellationToken)
    {
        var granted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        LinkedListNode<(long, TaskCompletionSource)> place;
        lock (_gate)
        {
            place = _waiting.AddLast((asked, granted));
            Grant();
        }

        await using (cancellationToken.UnsafeRegister(_ => Leave(place, cancellationToken), null)) await granted.Task;
        return new Held(this, asked);
    }

    private void Leave(LinkedListNode<(long Bytes, TaskCompletionSource Granted)> place, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (place.List is null) return; // it holds
            _waiting.Remove(place);
            Grant();
        }

        place.Value.Granted.SetCanceled(cancellationToken);
    }

    private void Free(long held)
    {
        lock (_gate)
        {
            (_held, _holders) = (_held - held, _holders - 1);
            Grant();
        }
    }

    private void Grant()
    {
        while (_waiting.First is { Value: var (asked, granted) } && (_holders == 0 || _held + asked <= bytes))
        {
            _waiting.RemoveFirst();
            (_held, _holders) = (_held + asked, _holders + 1);
            granted.SetResult();
        }
    }

    private sealed class Held(MemoryShare share, long bytes) : IDisposable
    {
        private int _isFree;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isFree, 1) == 0) share.Free(bytes);
        }
    }
}

using System.Threading.Channels;

namespace FedRLora.ControlPlane.Events;

/// <summary>
/// What waits for one listener. It is bounded: where more comes than a slow listener takes, all of it is dropped, and the listener is
/// told once how things stand instead.
/// </summary>
internal sealed class Listener(FeedSettings settings)
{
    private readonly Lock _gate = new();
    private readonly Queue<FeedEvent> _pending = [];
    private readonly Channel<bool> _signal =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private long _bytes;
    private string? _behind; // why it is told how things stand
    private Exception? _end;

    /// <summary>Puts an event before the listener.</summary>
    public void Offer(FeedEvent happened)
    {
        lock (_gate)
        {
            if (_behind is not null) return;
            var isFull = _pending.Count >= settings.Pending || (_pending.Count > 0 && _bytes + happened.Json.Length > settings.Bytes);
            if (isFull)
            {
                _pending.Clear();
                _behind = "events came faster than they were taken";
            }
            else
            {
                _pending.Enqueue(happened);
                _bytes += happened.Json.Length;
            }
        }

        _signal.Writer.TryWrite(true);
    }

    /// <summary>Has it told how things stand in the place of what is before it.</summary>
    public void FallBehind(string reason)
    {
        lock (_gate)
        {
            _pending.Clear();
            _behind = reason;
        }

        _signal.Writer.TryWrite(true);
    }

    /// <summary>Nothing comes any more.</summary>
    public void End(Exception why)
    {
        lock (_gate) _end = why;
        _signal.Writer.TryWrite(true);
    }

    /// <summary>Why it is to be told how things stand, from when on it is not behind; null where it is not.</summary>
    public string? CatchesUp()
    {
        lock (_gate)
        {
            var reason = _behind;
            if (reason is not null) (_behind, _bytes) = (null, 0);
            return reason;
        }
    }

    /// <summary>The next event; null where there is none now.</summary>
    /// <exception cref="Exception">What ended it, once nothing is left.</exception>
    public FeedEvent? Take()
    {
        lock (_gate)
        {
            if (_pending.TryDequeue(out var next))
            {
                _bytes -= next.Json.Length;
                return next;
            }

            return _end is null ? null : throw _end;
        }
    }

    /// <summary>Waits until something may be before it; false where that took too long.</summary>
    public async Task<bool> WaitAsync(TimeSpan most, TimeProvider time, CancellationToken cancellationToken)
    {
        using var late = new CancellationTokenSource(most, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        try
        {
            return await _signal.Reader.ReadAsync(either.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }
}

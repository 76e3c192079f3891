namespace FedRLora.Federation.Aggregation;

/// <summary>
/// Hands out numbers in order. Work on several goes on side by side; what has to be in order waits for the number before.
/// </summary>
internal sealed class Turns(int count)
{
    private readonly Lock _gate = new();
    private Progress _last = Progress.Ended;
    private int _next;

    /// <summary>The next number; null where all are given.</summary>
    public Turn? Next()
    {
        lock (_gate)
        {
            if (_next == count) return null;
            var turn = new Turn(_next++, _last);
            _last = turn.Own;
            return turn;
        }
    }
}

/// <summary>One number's turn. It is over when it is disposed, however that came.</summary>
internal sealed class Turn(int number, Progress before) : IDisposable
{
    /// <summary>The number.</summary>
    public int Number => number;

    /// <summary>How far this turn is.</summary>
    public Progress Own { get; } = new();

    /// <summary>Ends when the turn before is over.</summary>
    public Task Before() => before.Reaches("", -1);

    /// <summary>
    /// Ends when the turn before has done elements of a tensor up to <paramref name="end"/>, and all tensors with lower names.
    /// </summary>
    public Task Before(string tensor, int end) => before.Reaches(tensor, end);

    /// <summary>Says the same of this turn.</summary>
    public void Done(string tensor, int end) => Own.Set(tensor, end);

    /// <inheritdoc/>
    public void Dispose() => Own.End();
}

/// <summary>How far a turn is. One other waits for it, for one point at a time.</summary>
internal sealed class Progress
{
    private readonly Lock _gate = new();
    private (string Tensor, int End) _done = ("", 0);
    private bool _isOver;
    private (string Tensor, int End) _awaited;
    private TaskCompletionSource? _waiting;

    /// <summary>Of a turn that is over.</summary>
    public static Progress Ended { get; } = new() { _isOver = true };

    /// <summary>Ends when that much is done; where <paramref name="end"/> is negative, when the turn is over.</summary>
    public Task Reaches(string tensor, int end)
    {
        lock (_gate)
        {
            _awaited = (tensor, end);
            if (IsReached) return Task.CompletedTask;
            _waiting = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return _waiting.Task;
        }
    }

    public void Set(string tensor, int end)
    {
        lock (_gate)
        {
            _done = (tensor, end);
            Release();
        }
    }

    public void End()
    {
        lock (_gate)
        {
            _isOver = true;
            Release();
        }
    }

    private bool IsReached
    {
        get
        {
            if (_isOver) return true;
            if (_awaited.End < 0) return false;
            var order = string.CompareOrdinal(_done.Tensor, _awaited.Tensor);
            return order > 0 || (order == 0 && _done.End >= _awaited.End);
        }
    }

    private void Release()
    {
        if (_waiting is null || !IsReached) return;
        _waiting.SetResult();
        _waiting = null;
    }
}

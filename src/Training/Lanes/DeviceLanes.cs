using System.Diagnostics;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Lanes;

/// <summary>
/// The threads on which a device's tensors are touched, and the one queue before them. A lane runs one piece of work at a time, from
/// its beginning to its end: a dispose scope or a grad mode belongs to a thread and never spans an await. Threads at work are never
/// more than the lanes, so that none waits for a core that another of ours has.
/// </summary>
internal sealed class DeviceLanes : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly AdmissionQueue<Work> _queue;
    private readonly Lane[] _lanes;
    private readonly CancellationTokenSource _closing = new();
    private readonly CancellationToken _closed;
    private bool _isClosed;
    private bool _hasEnded;

    /// <param name="device">Of the tensors.</param>
    /// <param name="lanes">Threads that work at a time; null for as many as the process has processors, one on a GPU.</param>
    /// <param name="bytes">Memory that work may have at a time; null for three quarters of what the process may use.</param>
    public DeviceLanes(Device device, int? lanes = null, long? bytes = null)
    {
        (Device, _closed) = (device, _closing.Token);
        Count = lanes ?? CountOn(device);
        _queue = new(Count, bytes ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3);
        _lanes = [.. Enumerable.Range(0, Count).Select(number => new Lane(this, number))];
    }

    /// <summary>Where the tensors are.</summary>
    public Device Device { get; }

    /// <summary>How many pieces of work of one thread run side by side.</summary>
    public int Count { get; }

    /// <summary>Pieces of work that run now, and that wait.</summary>
    public (int Running, int Waiting) Load
    {
        get
        {
            lock (_gate) return _queue.Load;
        }
    }

    /// <summary>As many lanes as a device has of itself.</summary>
    public static int CountOn(Device device) => device.type == DeviceType.CPU ? Environment.ProcessorCount : 1;

    /// <summary>Runs work on a lane; what it throws, the task throws.</summary>
    /// <param name="demand">What it needs.</param>
    /// <param name="work">
    /// Takes no tensor and returns none. It looks at the token that it gets, which is cancelled with the caller's and when the lanes close.
    /// </param>
    /// <param name="cancellationToken">Takes work back that has not begun.</param>
    /// <returns>The result, and how long the work waited before it began.</returns>
    public async Task<(T Result, TimeSpan Waited)> RunAsync<T>(
        LaneDemand demand, Func<CancellationToken, T> work, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _closed);
        var asked = Stopwatch.GetTimestamp();
        var done = new TaskCompletionSource<(T, TimeSpan)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var item = new Work(demand, Run, () => done.TrySetCanceled(ending.Token));
        lock (_gate)
        {
            if (_isClosed) throw new OperationCanceledException("the device's lanes are closed", ending.Token);
            _queue.Add(demand, item);
            StartWaiting();
        }

        await using var registration = ending.Token.UnsafeRegister(_ => TakeBack(item), null);
        return await done.Task;

        Action Run()
        {
            var waited = Stopwatch.GetElapsedTime(asked);
            try
            {
                ending.Token.ThrowIfCancellationRequested();
                var result = work(ending.Token);
                return () => done.SetResult((result, waited));
            }
            catch (OperationCanceledException exception)
            {
                return () => done.SetCanceled(exception.CancellationToken);
            }
            catch (Exception exception) // the lane belongs to everybody: a failure goes to whoever asked
            {
                return () => done.SetException(exception);
            }
        }
    }

    /// <summary>
    /// Takes back what waits, asks what runs to end, and waits for it: a process that ends while a thread is in libtorch crashes.
    /// </summary>
    /// <returns>Whether all lanes have ended, and tensors may be freed; false after half a minute.</returns>
    public bool Close()
    {
        IReadOnlyList<Work> waiting;
        lock (_gate)
        {
            if (_isClosed) return _hasEnded;
            _isClosed = true;
            waiting = _queue.Clear();
        }

        foreach (var work in waiting) work.TakeBack();
        _closing.Cancel();
        foreach (var lane in _lanes) lane.Close();
        var started = Stopwatch.GetTimestamp();
        _hasEnded = Array.TrueForAll(_lanes, lane => lane.Join(Left()));
        if (!_hasEnded) NativeExit.IsWorkLeft = true;
        return _hasEnded;

        TimeSpan Left() => Patience - Stopwatch.GetElapsedTime(started) is var left && left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <inheritdoc cref="Close" path="/summary"/>
    public void Dispose()
    {
        if (!Close()) return;
        foreach (var lane in _lanes) lane.Dispose();
        _closing.Dispose();
    }

    private void TakeBack(Work work)
    {
        lock (_gate)
        {
            if (!_queue.Remove(work)) return; // it runs, or has run
            StartWaiting();
        }

        work.TakeBack();
    }

    // The first idle lane works, so that threads of a wide product, which the library keeps for each lane, are those of the first ones.
    private void StartWaiting()
    {
        while (Array.Find(_lanes, static lane => lane.IsIdle) is { } lane && _queue.TryTake(out var work)) lane.Start(work);
    }

    /// <param name="Demand">What it needs.</param>
    /// <param name="Run">Does it; what it returns tells whoever asked.</param>
    /// <param name="TakeBack">Ends it where it has not begun.</param>
    private sealed record Work(LaneDemand Demand, Func<Action> Run, Action TakeBack);

    private sealed class Lane : IDisposable
    {
        private readonly DeviceLanes _lanes;
        private readonly Thread _thread;
        private readonly AutoResetEvent _wake = new(false);
        private Work? _work;
        private bool _isClosed;

        public Lane(DeviceLanes lanes, int number)
        {
            _lanes = lanes;
            _thread = new Thread(Run) { IsBackground = true, Name = $"lane {number} of {lanes.Device}" };
            _thread.Start();
        }

        // Under the gate.
        public bool IsIdle => _work is null && !_isClosed;

        public void Start(Work work)
        {
            _work = work;
            _wake.Set();
        }

        public void Close()
        {
            lock (_lanes._gate) _isClosed = true;
            _wake.Set();
        }

        public bool Join(TimeSpan patience) => _thread.Join(patience);

        public void Dispose() => _wake.Dispose();

        private void Run()
        {
            while (true)
            {
                _wake.WaitOne();
                Work? work;
                lock (_lanes._gate)
                {
                    work = _work;
                    if (work is null && _isClosed) return;
                }

                if (work is null) continue;
                ThreadCount.Use(work.Demand.Threads);
                var tell = work.Run();
                bool isLast;
                lock (_lanes._gate)
                {
                    _work = null;
                    isLast = _isClosed;
                    _lanes._queue.Free(work);
                    _lanes.StartWaiting();
                }

                tell();
                if (isLast) return;
            }
        }
    }
}

using System.Diagnostics;
using System.Runtime.InteropServices;
using FedRLora.Training.Devices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Lanes;

/// <summary>
/// The threads on which a device's tensors are touched, and the one queue before them. A lane runs one piece of work at a time, from
/// its beginning to its end: a dispose scope or a grad mode belongs to a thread and never spans an await. Threads at work are never
/// more than the lanes, so that none waits for a core that another of ours has.
/// <para>
/// What somebody waits for, such as the next token of a prompt, is a short piece beside the queue. It runs on a lane that has nothing to
/// do, or on the thread of one that works, between two steps of that work (<see cref="LetIn"/>): pieces together have as much time there
/// as the step before them took, the first of them always what it needs, and then the work goes on. So a piece waits for one step, and
/// work has half of the time or more, or every other turn where a piece is longer than a step.
/// </para>
/// </summary>
internal sealed class DeviceLanes : IDisposable
{
    private const int PromptShare = 8;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly AdmissionQueue<Work> _queue;
    private readonly List<Work> _pieces = []; // who came first goes first
    private readonly Lane[] _lanes;
    private readonly CancellationTokenSource _closing = new();
    private readonly CancellationToken _closed;
    private bool _isClosed;
    private bool _hasEnded;

    /// <param name="device">Of the tensors.</param>
    /// <param name="lanes">Threads that work at a time; null for as many as the process has processors, one on a GPU.</param>
    /// <param name="bytes">Memory that work may have at a time; null for <see cref="BytesOn"/>.</param>
    /// <param name="time">Says how long a step took; null for the system's.</param>
    public DeviceLanes(Device device, int? lanes = null, long? bytes = null, TimeProvider? time = null)
    {
        (Device, _closed, _time) = (device, _closing.Token, time ?? TimeProvider.System);
        Count = lanes ?? CountOn(device);
        Bytes = bytes ?? BytesOn(device);
        _queue = new(Count, Bytes);
        PromptMemory = new(Bytes / PromptShare);
        _lanes = [.. Enumerable.Range(0, Count).Select(number => new Lane(this, number))];
    }

    /// <summary>Where the tensors are.</summary>
    public Device Device { get; }

    /// <summary>How many pieces of work of one thread run side by side.</summary>
    public int Count { get; }

    /// <summary>Memory that work may have at a time.</summary>
    public long Bytes { get; }

    /// <summary>Pieces of work that run now, and that wait.</summary>
    public (int Running, int Waiting) Load
    {
        get
        {
            lock (_gate) return (_queue.Load.Running, _queue.Load.Waiting + _pieces.Count);
        }
    }

    /// <summary>
    /// What prompts hold while they last, an eighth of what work may have and beside it: they wait for each other and for no group, and no
    /// group waits for them.
    /// </summary>
    public MemoryShare PromptMemory { get; }

    /// <summary>As many lanes as a device has of itself.</summary>
    public static int CountOn(Device device) => device.type == DeviceType.CPU ? Environment.ProcessorCount : 1;

    /// <summary>Three quarters of the memory that the process may use, or that is free on a GPU now.</summary>
    public static long BytesOn(Device device) => (device.type == DeviceType.CPU
        ? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes : Gpu.FreeBytes(device.index)) / 4 * 3;

    /// <summary>Runs work on a lane; what it throws, the task throws.</summary>
    /// <param name="demand">What it needs.</param>
    /// <param name="work">
    /// Takes no tensor and returns none. It looks at the token that it gets, which is cancelled with the caller's and when the lanes close.
    /// </param>
    /// <param name="cancellationToken">Takes work back that has not begun.</param>
    /// <returns>The result, and how long the work waited: before it began, and for pieces that were let in.</returns>
    public Task<(T Result, TimeSpan Waited)> RunAsync<T>(
        LaneDemand demand, Func<CancellationToken, T> work, CancellationToken cancellationToken) =>
        AskAsync(demand, (_, stopped) => work(stopped), work => _queue.Add(demand, work), cancellationToken);

    /// <summary>Runs a short piece as soon as a lane is idle or between two steps; what it throws, the task throws.</summary>
    /// <param name="threads">As <see cref="LaneDemand.Threads"/>.</param>
    /// <param name="piece">
    /// As in <see cref="RunAsync"/>; it may go on until its turn is over. Tensors that it leaves in its dispose scope go with it.
    /// </param>
    /// <param name="cancellationToken">Takes a piece back that has not begun.</param>
    public async Task<T> RunBetweenAsync<T>(
        int threads, Func<LaneTurn, CancellationToken, T> piece, CancellationToken cancellationToken)
    {
        return (await AskAsync(new("", threads, Bytes: 0), Apart, _pieces.Add, cancellationToken)).Result;

        // The work that it comes between has a scope of its own open, which it would fill.
        T Apart(LaneTurn turn, CancellationToken stopped)
        {
            using var scope = NewDisposeScope();
            return piece(turn, stopped);
        }
    }

    /// <summary>
    /// Between two steps of work on a lane: lets pieces in that wait, if any. To whoever is on no lane it does nothing.
    /// </summary>
    public void LetIn() => Array.Find(_lanes, static lane => lane.IsCurrent)?.LetIn();

    private async Task<(T Result, TimeSpan Waited)> AskAsync<T>(
        LaneDemand demand, Func<LaneTurn, CancellationToken, T> work, Action<Work> add, CancellationToken cancellationToken)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _closed);
        var asked = Stopwatch.GetTimestamp();
        var done = new TaskCompletionSource<(T, TimeSpan)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var item = new Work(demand, Run, () => done.TrySetCanceled(ending.Token));
        lock (_gate)
        {
            if (_isClosed) throw new OperationCanceledException("the device's lanes are closed", ending.Token);
            add(item);
            StartWaiting();
        }

        await using var registration = ending.Token.UnsafeRegister(_ => TakeBack(item), null);
        return await done.Task;

        Action Run(LaneTurn turn)
        {
            var waited = Stopwatch.GetElapsedTime(asked);
            try
            {
                ending.Token.ThrowIfCancellationRequested();
                var result = work(turn, ending.Token);
                return () => done.SetResult((result, waited + turn.Lent));
            }
            catch (OperationCanceledException exception)
            {
                return () => done.SetCanceled(exception.CancellationToken);
            }
            catch (ExternalException exception)
            {
                return () => done.SetException(OutOfDeviceMemoryException.From(exception, Device.ToString()));
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
            waiting = [.. _queue.Clear(), .. _pieces];
            _pieces.Clear();
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
            if (!_pieces.Remove(work) && !_queue.Remove(work)) return; // it runs, or has run
            StartWaiting();
        }

        work.TakeBack();
    }

    // The first idle lane works, so that threads of a wide product, which the library keeps for each lane, are those of the first ones.
    private void StartWaiting()
    {
        while (Idle is { } lane && _queue.TryTake(out var work)) lane.Start(work);
        // Whoever works lets the rest in: no piece takes a core that another has, but between two steps.
        while (Idle is { } lane && _pieces.Count > 0 && _queue.TryOccupy(_pieces[0].Demand.Threads, _pieces[0]))
        {
            lane.Start(_pieces[0]);
            _pieces.RemoveAt(0);
        }
    }

    private Lane? Idle => Array.Find(_lanes, static lane => lane.IsIdle);

    /// <param name="Demand">What it needs.</param>
    /// <param name="Run">Does it; what it returns tells whoever asked.</param>
    /// <param name="TakeBack">Ends it where it has not begun.</param>
    private sealed record Work(LaneDemand Demand, Func<LaneTurn, Action> Run, Action TakeBack);

    private sealed class Lane : IDisposable
    {
        private readonly DeviceLanes _lanes;
        private readonly Thread _thread;
        private readonly AutoResetEvent _wake = new(false);
        private Work? _work;
        private LaneTurn? _turn; // of the work
        private long _stepped; // when the step began that is under way
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

        public bool IsCurrent => Thread.CurrentThread == _thread;

        public void LetIn()
        {
            var (time, began) = (_lanes._time, _lanes._time.GetTimestamp());
            var step = time.GetElapsedTime(_stepped, began);
            Work? last = null;
            while (last is null || time.GetElapsedTime(began) < step)
            {
                Work? piece;
                int behind;
                lock (_lanes._gate)
                {
                    if ((piece = _lanes._pieces.FirstOrDefault()) is null) break;
                    _lanes._pieces.RemoveAt(0);
                    behind = _lanes._pieces.Count;
                }

                last = piece;
                var now = time.GetTimestamp();
                ThreadCount.Use(piece.Demand.Threads);
                piece.Run(new LaneTurn(time, now, (step - time.GetElapsedTime(began, now)) / (behind + 1)))();
            }

            _stepped = time.GetTimestamp();
            if (last is null) return;
            ThreadCount.Use(_work!.Demand.Threads);
            _turn!.Lent += time.GetElapsedTime(began, _stepped);
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
                _stepped = _lanes._time.GetTimestamp();
                _turn = new LaneTurn(_lanes._time, _stepped, TimeSpan.Zero);
                var tell = work.Run(_turn);
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

using FedRLora.Training.Lanes;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Lanes;

/// <summary>Short pieces between the steps of work on a lane. Steps and pieces take the time that a clock by hand says.</summary>
public sealed class LetInTests
{
    private static readonly TimeSpan InTime = TimeSpan.FromSeconds(30);
    private readonly ClockByHand _clock = new();
    private readonly List<string> _done = [];

    [Fact]
    public async Task A_piece_waits_for_the_step_under_way_and_not_for_the_work()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        Task<int>? piece = null;

        await Steps(lanes, 3, step =>
        {
            if (step == 1) piece = Piece(lanes, "piece");
        });

        Assert.Equal(["step 0", "step 1", "piece", "step 2"], _done);
        Assert.Equal(0, await piece!.WaitAsync(InTime));
    }

    [Fact]
    public async Task Between_two_pieces_there_is_a_step_where_pieces_take_longer()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        List<Task<int>> pieces = [];

        await Steps(lanes, 4, step =>
        {
            if (step == 0) pieces.AddRange("abc".Select(name => Piece(lanes, $"{name}", takes: 25)));
        }, takes: 10);

        Assert.Equal(["step 0", "a", "step 1", "b", "step 2", "c", "step 3"], _done);
        await Task.WhenAll(pieces).WaitAsync(InTime);
    }

    [Fact]
    public async Task Short_pieces_together_take_no_longer_than_the_step_before_them_and_share_it()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        List<Task<int>> pieces = [];

        await Steps(lanes, 3, step =>
        {
            if (step == 0) pieces.AddRange("abcd".Select(name => Piece(lanes, $"{name}", takes: 4)));
        }, takes: 10);

        // A token each, which is more than a fourth of the step; the third begins before its time is used up, and the fourth is alone.
        Assert.Equal(["step 0", "a", "b", "c", "step 1", "d", "step 2"], _done);
        var more = await Task.WhenAll(pieces).WaitAsync(InTime);
        Assert.Equal([0, 0, 0, 2], more);
    }

    [Fact]
    public async Task A_piece_alone_may_go_on_for_as_long_as_the_step_took()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        Task<int>? piece = null;

        await Steps(lanes, 2, step =>
        {
            if (step == 0) piece = Piece(lanes, "piece", takes: 3);
        }, takes: 10);

        Assert.Equal(3, await piece!.WaitAsync(InTime)); // more after the first: at 3, 6 and 9
    }

    [Fact]
    public async Task What_pieces_took_is_no_time_of_the_work()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);

        var (_, waited) = await Steps(lanes, 2, step =>
        {
            if (step == 0) _ = Piece(lanes, "piece", takes: 7_000_000);
        });

        Assert.InRange(waited, TimeSpan.FromSeconds(7000), TimeSpan.FromSeconds(7030));
    }

    [Fact]
    public async Task Work_has_its_own_number_of_threads_again_after_a_piece()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 2);
        var (before, during, after) = (0, 0, 0);

        await lanes.RunAsync(new("run", Threads: 2, 0), _ =>
        {
            before = get_num_threads();
            var piece = lanes.RunBetweenAsync(1, (_, _) => during = get_num_threads(), CancellationToken.None);
            lanes.LetIn();
            after = get_num_threads();
            return piece.IsCanceled;
        }, CancellationToken.None).WaitAsync(InTime);

        Assert.Equal((2, 1, 2), (before, during, after));
    }

    [Fact]
    public async Task A_piece_that_is_cancelled_ends_at_once_and_never_runs()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        using var cancel = new CancellationTokenSource();

        await Steps(lanes, 2, step =>
        {
            if (step == 1) return;
            var piece = Piece(lanes, "piece", cancellationToken: cancel.Token);
            cancel.Cancel();
            Assert.True(SpinWait.SpinUntil(() => piece.IsCanceled, InTime));
        });

        Assert.Equal(["step 0", "step 1"], _done);
    }

    [Fact]
    public async Task A_failure_of_a_piece_goes_to_whoever_asked_and_the_work_goes_on()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        Task? piece = null;

        await Steps(lanes, 2, step =>
        {
            if (step == 0)
                piece = lanes.RunBetweenAsync<bool>(1, (_, _) => throw new InvalidOperationException("no"), CancellationToken.None);
        });

        Assert.Equal("no", (await Assert.ThrowsAsync<InvalidOperationException>(() => piece!.WaitAsync(InTime))).Message);
        Assert.Equal(["step 0", "step 1"], _done);
    }

    [Fact]
    public async Task An_idle_lane_runs_a_piece_beside_work_and_work_that_waits_comes_before_the_next()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        using var go = new ManualResetEventSlim();
        var first = lanes.RunBetweenAsync(1, (turn, stopped) =>
        {
            go.Wait(InTime, stopped);
            Note("piece");
            return turn.IsOver;
        }, CancellationToken.None);
        var next = Piece(lanes, "next");
        var work = Steps(lanes, 1);
        go.Set();

        Assert.True(await first.WaitAsync(InTime)); // to others after every token
        await Task.WhenAll(next, work).WaitAsync(InTime);
        Assert.Equal(["piece", "step 0", "next"], _done);
    }

    [Fact]
    public async Task Closing_takes_pieces_back_that_wait()
    {
        var lanes = new DeviceLanes(CPU, lanes: 1, time: _clock);
        using var busy = new ManualResetEventSlim();
        var work = lanes.RunAsync(new("run", 1, 0), stopped =>
        {
            busy.Set();
            stopped.WaitHandle.WaitOne(InTime);
            stopped.ThrowIfCancellationRequested();
            return true;
        }, CancellationToken.None);
        Assert.True(busy.Wait(InTime));
        var piece = Piece(lanes, "piece");

        Assert.True(await Task.Run(lanes.Close).WaitAsync(InTime));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => work.WaitAsync(InTime));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => piece.WaitAsync(InTime));
        lanes.Dispose();
    }

    [Fact]
    public void Whoever_is_on_no_lane_lets_nothing_in()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1);
        lanes.LetIn();
        Assert.Empty(_done);
    }

    private Task<(bool Result, TimeSpan Waited)> Steps(DeviceLanes lanes, int steps, Action<int>? during = null, int takes = 10) =>
        lanes.RunAsync(new("run", 1, 0), _ =>
        {
            for (var step = 0; step < steps; step++)
            {
                Note($"step {step}");
                during?.Invoke(step);
                _clock.Pass(takes);
                lanes.LetIn();
            }

            return true;
        }, CancellationToken.None).WaitAsync(InTime);

    // Says how many tokens it made after the first.
    private Task<int> Piece(DeviceLanes lanes, string name, int takes = 10, CancellationToken cancellationToken = default) =>
        lanes.RunBetweenAsync(1, (turn, _) =>
        {
            Note(name);
            for (var more = 0; ; more++)
            {
                _clock.Pass(takes);
                if (turn.IsOver) return more;
            }
        }, cancellationToken);

    private void Note(string what)
    {
        lock (_done) _done.Add(what);
    }

    private sealed class ClockByHand : TimeProvider
    {
        private long _milliseconds;

        public override long TimestampFrequency => 1000;

        public void Pass(int milliseconds) => Interlocked.Add(ref _milliseconds, milliseconds);

        public override long GetTimestamp() => Interlocked.Read(ref _milliseconds);
    }
}

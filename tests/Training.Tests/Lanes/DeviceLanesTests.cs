using FedRLora.Training.Lanes;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Lanes;

public sealed class DeviceLanesTests
{
    private static readonly TimeSpan InTime = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Two_lanes_work_at_the_same_time_and_one_does_not()
    {
        using var both = new Barrier(2);
        using (var two = new DeviceLanes(CPU, lanes: 2))
            await Task.WhenAll(Meeting(two), Meeting(two)).WaitAsync(InTime);

        using var one = new DeviceLanes(CPU, lanes: 1);
        var (atWork, most) = (0, 0);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => one.RunAsync(new("run", 1, 0), _ =>
        {
            most = Math.Max(most, Interlocked.Increment(ref atWork));
            Thread.Yield();
            return Interlocked.Decrement(ref atWork);
        }, CancellationToken.None))).WaitAsync(InTime);
        Assert.Equal(1, most);

        Task Meeting(DeviceLanes lanes) => lanes.RunAsync(
            new("run", 1, 0), stopped => both.SignalAndWait(InTime, stopped) ? true : throw new TimeoutException("alone"),
            CancellationToken.None);
    }

    [Fact]
    public async Task Work_that_does_not_fit_into_memory_beside_other_work_waits_for_it()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 4, bytes: 100);
        var (atWork, most) = (0, 0);
        await Task.WhenAll(Enumerable.Range(0, 12).Select(_ => lanes.RunAsync(new("run", 1, Bytes: 60), _ =>
        {
            most = Math.Max(most, Interlocked.Increment(ref atWork));
            Thread.Yield();
            return Interlocked.Decrement(ref atWork);
        }, CancellationToken.None))).WaitAsync(InTime);
        Assert.Equal(1, most);
    }

    [Fact]
    public async Task Each_piece_of_work_has_its_own_number_of_threads_whatever_others_set()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 2);
        for (var round = 0; round < 20; round++)
        {
            var seen = await Task.WhenAll(Enumerable.Range(0, 6).Select(async i =>
            {
                var threads = i % 2 + 1;
                var (found, _) = await lanes.RunAsync(new($"{threads}", threads, 0), _ => get_num_threads(), CancellationToken.None);
                return (threads, found);
            })).WaitAsync(InTime);
            Assert.All(seen, static pair => Assert.Equal(pair.threads, pair.found));
        }
    }

    [Fact]
    public async Task How_long_work_waited_is_told_apart_from_how_long_it_took()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1);
        using var go = new ManualResetEventSlim();
        var first = lanes.RunAsync(new("run", 1, 0), stopped => go.Wait(InTime, stopped), CancellationToken.None);
        var second = lanes.RunAsync(new("run", 1, 0), _ => true, CancellationToken.None);
        var asked = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(asked) < TimeSpan.FromMilliseconds(50)) Thread.Yield();
        go.Set();
        Assert.True((await second).Waited >= TimeSpan.FromMilliseconds(50));
        Assert.True((await first).Waited < (await second).Waited);
    }

    [Fact]
    public async Task Work_that_waits_ends_as_soon_as_it_is_cancelled()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1);
        using var go = new ManualResetEventSlim();
        using var cancel = new CancellationTokenSource();
        var first = lanes.RunAsync(new("run", 1, 0), stopped => go.Wait(InTime, stopped), CancellationToken.None);
        var begun = false;
        var second = lanes.RunAsync(new("run", 1, 0), _ => begun = true, cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second.WaitAsync(InTime));
        Assert.False(begun);
        go.Set();
        Assert.True((await first).Result);
    }

    [Fact]
    public async Task A_failure_goes_to_whoever_asked_and_the_lane_works_on()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1);
        var failed = await Assert.ThrowsAsync<InvalidOperationException>(
            () => lanes.RunAsync<bool>(new("run", 1, 0), _ => throw new InvalidOperationException("no"), CancellationToken.None));
        Assert.Equal("no", failed.Message);
        Assert.Equal(3, (await lanes.RunAsync(new("run", 1, 0), _ => 3, CancellationToken.None)).Result);
    }

    [Fact]
    public async Task Closing_ends_what_runs_and_what_waits_and_takes_nothing_more()
    {
        var lanes = new DeviceLanes(CPU, lanes: 2);
        using var busy = new CountdownEvent(2);
        var running = Enumerable.Range(0, 2).Select(_ => lanes.RunAsync(new("run", 1, 0), stopped =>
        {
            busy.Signal();
            stopped.WaitHandle.WaitOne(InTime);
            stopped.ThrowIfCancellationRequested();
            return true;
        }, CancellationToken.None)).ToList();
        var waiting = lanes.RunAsync(new("run", 1, 0), _ => true, CancellationToken.None);
        Assert.True(busy.Wait(InTime));

        Assert.True(await Task.Run(lanes.Close).WaitAsync(InTime));

        foreach (var task in running.Append(waiting)) await Assert.ThrowsAnyAsync<OperationCanceledException>(() => task.WaitAsync(InTime));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => lanes.RunAsync(new("run", 1, 0), _ => true, CancellationToken.None));
        lanes.Dispose();
    }
}

namespace FedRLora.Grains.Tests;

/// <summary>How work is tried again, in a time that nobody waits for.</summary>
public sealed class RetryTests
{
    private readonly SkippedTime _time = new();

    [Fact]
    public async Task Work_is_done_again_after_each_pause_until_it_succeeds()
    {
        var retry = new Retry<int>(_time, static e => e is IOException, static (n, _) => TimeSpan.FromHours(n));
        var said = new List<(int, string)>();
        var given = await retry.RunAsync(
            (before, _) => before < 3 ? throw new IOException($"try {before}") : Task.FromResult(before), default,
            (n, e) => said.Add((n, e!.Message)));
        Assert.Equal(3, given);
        Assert.Equal([(1, "try 0"), (2, "try 1"), (3, "try 2")], said);
        Assert.Equal([TimeSpan.FromHours(1), TimeSpan.FromHours(2), TimeSpan.FromHours(3)], _time.Waited);
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(2, 3)]
    public async Task What_fails_for_the_last_time_is_thrown_as_it_is(int most, int tries)
    {
        var done = 0;
        var retry = new Retry<int>(_time, static _ => true, static (_, _) => TimeSpan.FromHours(1), most);
        var thrown = await Assert.ThrowsAsync<IOException>(() => retry.RunAsync((_, _) => throw new IOException($"try {++done}"), default));
        Assert.Equal((tries, $"try {tries}"), (done, thrown.Message));
        Assert.Equal(most, _time.Waited.Count);
    }

    [Fact]
    public async Task What_does_not_pass_is_thrown_at_once()
    {
        var retry = new Retry<int>(_time, static e => e is IOException, static (_, _) => TimeSpan.FromHours(1));
        await Assert.ThrowsAsync<FormatException>(() => retry.RunAsync(static (_, _) => throw new FormatException(), default));
        Assert.Empty(_time.Waited);
    }

    [Fact]
    public async Task A_result_that_is_not_enough_is_asked_for_again_and_given_in_the_end()
    {
        var retry = new Retry<bool>(
            _time, static _ => false, static (_, _) => TimeSpan.FromHours(1), most: 4, enough: static heard => heard);
        Assert.False(await retry.RunAsync(static (_, _) => Task.FromResult(false), default));
        Assert.Equal(4, _time.Waited.Count);
    }

    [Fact]
    public async Task Nothing_is_done_again_when_its_time_is_over()
    {
        var retry = new Retry<int>(_time, static _ => true, static (_, _) => TimeSpan.FromMinutes(20), within: TimeSpan.FromHours(1));
        await Assert.ThrowsAsync<IOException>(() => retry.RunAsync(static (_, _) => throw new IOException(), default));
        Assert.Equal(3, _time.Waited.Count);
    }

    [Fact]
    public async Task A_cancelled_pause_ends_the_work()
    {
        using var cancelled = new CancellationTokenSource();
        var retry = new Retry<int>(TimeProvider.System, static _ => true, static (_, _) => TimeSpan.FromHours(1));
        var running = retry.RunAsync(static (_, _) => throw new IOException(), cancelled.Token, (_, _) => cancelled.Cancel());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
    }

    [Fact]
    public async Task Retries_stay_on_the_scheduler_of_their_caller()
    {
        var schedulers = new ConcurrentExclusiveSchedulerPair();
        var retry = new Retry<bool>(
            TimeProvider.System, static _ => false, static (_, _) => TimeSpan.FromMilliseconds(1), enough: static done => done);
        var seen = await Task.Factory.StartNew(
            async () =>
            {
                var seen = new List<TaskScheduler>();
                await retry.RunAsync((before, _) =>
                {
                    seen.Add(TaskScheduler.Current);
                    return Task.FromResult(before == 3);
                }, default);
                return seen;
            },
            default, TaskCreationOptions.None, schedulers.ExclusiveScheduler).Unwrap();
        Assert.Equal(4, seen.Count);
        Assert.All(seen, scheduler => Assert.Same(schedulers.ExclusiveScheduler, scheduler));
    }

    [Fact]
    public void A_pause_doubles_up_to_its_bound() =>
        Assert.Equal([0.5, 1, 2, 4, 5, 5], Enumerable.Range(1, 6)
            .Select(static retry => Pauses.Doubled(TimeSpan.FromSeconds(0.5), retry, TimeSpan.FromSeconds(5)).TotalSeconds));

    // Whoever waits is answered at once, and the time is then what it would be.
    private sealed class SkippedTime : TimeProvider
    {
        private long _now;

        public List<TimeSpan> Waited { get; } = [];

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Waited.Add(dueTime);
            _now += dueTime.Ticks;
            return TimeProvider.System.CreateTimer(callback, state, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }
    }
}

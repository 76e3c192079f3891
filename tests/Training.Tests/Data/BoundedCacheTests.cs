using FedRLora.Training.Data;

namespace FedRLora.Training.Tests.Data;

/// <summary>What is loaded once, kept and given up.</summary>
public sealed class BoundedCacheTests
{
    private readonly BoundedCache _cache = new(100);
    private int _loads;

    [Fact]
    public async Task Callers_at_once_share_one_load()
    {
        var gate = new TaskCompletionSource<string>();

        var asked = Enumerable.Range(0, 3).Select(_ => GetAsync("a", () => gate.Task)).ToList();
        gate.SetResult("value");

        Assert.Equal(["value", "value", "value"], await Task.WhenAll(asked));
        Assert.Equal("value", await GetAsync("a", () => gate.Task));
        Assert.Equal(1, _loads);
    }

    [Fact]
    public async Task A_failure_reaches_all_who_wait_and_is_not_kept()
    {
        var gate = new TaskCompletionSource<string>();
        var asked = Enumerable.Range(0, 2).Select(_ => GetAsync("a", () => gate.Task)).ToList();

        gate.SetException(new InvalidDataException("broken"));

        foreach (var task in asked) await Assert.ThrowsAsync<InvalidDataException>(() => task);
        Assert.Equal("value", await GetAsync("a", static () => Task.FromResult("value")));
    }

    [Fact]
    public async Task A_load_that_was_called_off_is_done_by_the_next_who_waits()
    {
        var gate = new TaskCompletionSource<string>();
        var first = GetAsync("a", () => gate.Task);
        var second = GetAsync("a", static () => Task.FromResult("value"));

        gate.SetCanceled();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        Assert.Equal("value", await second);
        Assert.Equal(2, _loads);
    }

    [Fact]
    public async Task Who_no_longer_waits_leaves_the_load_to_the_others()
    {
        var gate = new TaskCompletionSource<string>();
        using var impatient = new CancellationTokenSource();
        var first = GetAsync("a", () => gate.Task);
        var second = GetAsync("a", () => gate.Task, cancellationToken: impatient.Token);

        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        gate.SetResult("value");

        Assert.Equal("value", await first);
        Assert.Equal(1, _loads);
    }

    [Fact]
    public async Task The_longest_unused_goes_first_where_all_do_not_fit()
    {
        await GetAsync("a", static () => Task.FromResult("a"), size: 40);
        await GetAsync("b", static () => Task.FromResult("b"), size: 40);
        await GetAsync("a", static () => Task.FromResult("a"), size: 40);
        await GetAsync("c", static () => Task.FromResult("c"), size: 40);
        Assert.Equal(3, _loads);

        await GetAsync("a", static () => Task.FromResult("a"), size: 40);
        Assert.Equal(3, _loads);
        await GetAsync("b", static () => Task.FromResult("b"), size: 40);
        Assert.Equal(4, _loads);
    }

    [Fact]
    public async Task What_is_larger_than_the_bound_is_not_kept()
    {
        await GetAsync("a", static () => Task.FromResult("a"), size: 101);
        await GetAsync("a", static () => Task.FromResult("a"), size: 101);

        Assert.Equal(2, _loads);
    }

    private Task<string> GetAsync(string key, Func<Task<string>> load, long size = 1, CancellationToken cancellationToken = default) =>
        _cache.GetAsync(
            key,
            () =>
            {
                _loads++;
                return load();
            },
            _ => size, cancellationToken);
}

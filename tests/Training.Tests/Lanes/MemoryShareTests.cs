using FedRLora.Training.Lanes;

namespace FedRLora.Training.Tests.Lanes;

public sealed class MemoryShareTests
{
    private static readonly TimeSpan InTime = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Who_does_not_fit_waits_and_who_came_first_goes_first()
    {
        var share = new MemoryShare(100);
        var first = await share.HoldAsync(60, CancellationToken.None).WaitAsync(InTime);
        var large = share.HoldAsync(50, CancellationToken.None);
        var small = share.HoldAsync(10, CancellationToken.None);
        Assert.False(large.IsCompleted || small.IsCompleted); // nobody goes past

        first.Dispose();
        first.Dispose(); // once is enough

        using var second = await large.WaitAsync(InTime);
        using var third = await small.WaitAsync(InTime);
    }

    [Fact]
    public async Task Who_asks_for_more_than_there_is_has_it_alone()
    {
        var share = new MemoryShare(100);
        var huge = await share.HoldAsync(1000, CancellationToken.None).WaitAsync(InTime);
        var small = share.HoldAsync(1, CancellationToken.None);
        Assert.False(small.IsCompleted);
        huge.Dispose();
        using var held = await small.WaitAsync(InTime);
    }

    [Fact]
    public async Task Who_leaves_lets_those_behind_go_on()
    {
        var share = new MemoryShare(100);
        using var cancel = new CancellationTokenSource();
        using var first = await share.HoldAsync(60, CancellationToken.None).WaitAsync(InTime);
        var large = share.HoldAsync(50, cancel.Token);
        var small = share.HoldAsync(10, CancellationToken.None);

        await cancel.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large.WaitAsync(InTime));
        using var held = await small.WaitAsync(InTime);
    }
}

using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Tests;

/// <summary>A site whose coordinator hears nothing of it and answers nothing: in both directions, as where a link is cut.</summary>
public sealed class SiteLeaseTests
{
    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(2);

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    [Fact]
    public async Task A_site_whose_coordinator_is_silent_stops_and_what_it_makes_when_asked_again_has_the_same_bits()
    {
        var plan = TestFederation.Plan(clients: 4, rounds: 3, site: static i => i < 2 ? "north" : "south");
        await using var undisturbed = await TestFederation.StartAsync(["north", "south"]);
        var expected = await undisturbed.RunAsync("job", plan, InTime);
        var isCut = false;
        await using var federation = await StartAsync(() => isCut);
        var (begun, stopped) = (new TaskCompletionSource(), new TaskCompletionSource());
        federation.Trainer.BeforeTraining = (group, token) =>
            group.Round == 2 && group.Members[0].Client.Site == "south" && !stopped.Task.IsCompleted
                ? HoldAsync(begun, stopped, token) : Task.CompletedTask;
        await federation.Coordinator("job").SubmitAsync(plan, InTime);
        await begun.Task.WaitAsync(InTime);

        await Task.Delay(2 * Lease, InTime);
        Assert.False(stopped.Task.IsCompleted, "a site whose coordinator answers works on");
        isCut = true;
        await stopped.Task.WaitAsync(InTime);
        isCut = false;
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.Equal(expected, over.NewRounds[^1].ManifestSha256);
    }

    [Fact]
    public async Task A_run_that_was_cancelled_during_a_cut_stops_at_the_site_as_soon_as_the_link_is_back()
    {
        var isCut = false;
        await using var federation = await StartAsync(() => isCut, TimeSpan.FromSeconds(20));
        var (begun, stopped) = (new TaskCompletionSource(), new TaskCompletionSource());
        federation.Trainer.BeforeTraining = (group, token) =>
            group.Members[0].Client.Site == "south" ? HoldAsync(begun, stopped, token) : Task.CompletedTask;
        await federation.Coordinator("job").SubmitAsync(
            TestFederation.Plan(clients: 4, rounds: 3, site: static i => i < 2 ? "north" : "south"), InTime);
        await begun.Task.WaitAsync(InTime);
        isCut = true;

        await federation.Coordinator("job").CancelAsync(InTime);
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync("job", InTime)).Status);
        Assert.False(stopped.Task.IsCompleted, "the site could not be told");
        isCut = false;

        await stopped.Task.WaitAsync(InTime); // at its next renewal
        Assert.Equal(JobStatus.Cancelled, (await federation.FinishAsync("job", InTime)).Status);
    }

    [Fact]
    public async Task A_cancellation_is_not_kept_waiting_by_a_site_that_does_not_answer()
    {
        var (asked, back) = (new TaskCompletionSource(), new TaskCompletionSource());
        await using var federation = await TestFederation.StartAsync(["north", "south"], link: async (from, to) =>
        {
            if (IsOfSouth(from) || !IsOfSouth(to)) return;
            asked.TrySetResult();
            await back.Task;
        });
        await federation.Coordinator("job").SubmitAsync(
            TestFederation.Plan(clients: 4, rounds: 3, site: static i => i < 2 ? "north" : "south"), InTime);
        await asked.Task.WaitAsync(InTime);

        await federation.Coordinator("job").CancelAsync(InTime);
        using var soon = new CancellationTokenSource(TimeSpan.FromSeconds(15)); // the call to the site would end after 30
        var over = await federation.FinishAsync("job", soon.Token);

        Assert.Equal(JobStatus.Cancelled, over.Status);
        back.SetResult();
    }

    private static Task<TestFederation> StartAsync(Func<bool> isCut, TimeSpan? lease = null) => TestFederation.StartAsync(
        ["north", "south"], leaseFor: lease ?? Lease,
        link: (from, to) => isCut() && IsOfSouth(from) != IsOfSouth(to)
            ? Task.FromException(new TimeoutException("the link is cut")) : Task.CompletedTask);

    private static bool IsOfSouth(string key) => key.Contains("/south", StringComparison.Ordinal);

    private static async Task HoldAsync(TaskCompletionSource begun, TaskCompletionSource stopped, CancellationToken token)
    {
        begun.TrySetResult();
        try
        {
            await Task.Delay(Timeout.Infinite, token);
        }
        finally
        {
            stopped.TrySetResult();
        }
    }
}

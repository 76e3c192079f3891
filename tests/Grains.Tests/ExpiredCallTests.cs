using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Tests;

/// <summary>Orleans cancels a call that has found no silo in its time: nobody gave up, and nothing is broken.</summary>
public class ExpiredCallTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(1)).Token;

    [Theory]
    [InlineData(typeof(SiteAssignment))]
    [InlineData(typeof(SiteConfirmation))]
    [InlineData(typeof(SiteReport))]
    [InlineData(typeof(IReadOnlyList<ClientReport>))]
    public async Task A_call_that_expired_is_made_again_and_the_run_goes_on(Type content)
    {
        string expected;
        await using (var calm = await TestFederation.StartAsync())
            expected = await calm.RunAsync("job", TestFederation.Plan(rounds: 2), InTime);
        var expired = 0;
        await using var federation = await TestFederation.StartAsync(heard: (_, argument) =>
        {
            if (content.IsInstanceOfType(argument) && Interlocked.Increment(ref expired) == 1)
                throw new OperationCanceledException("Message expired before placement could complete");
        });

        Assert.Equal(expected, await federation.RunAsync("job", TestFederation.Plan(rounds: 2), InTime));
        Assert.NotEqual(0, expired);
    }

    [Fact]
    public void The_caller_s_token_tells_a_call_that_expired_from_one_that_was_given_up()
    {
        using var givenUp = new CancellationTokenSource();
        var cancelled = new OperationCanceledException();
        Assert.True(Unanswered.Is(cancelled, givenUp.Token));
        givenUp.Cancel();
        Assert.False(Unanswered.Is(cancelled, givenUp.Token));
        Assert.True(Unanswered.Is(new TimeoutException()));
        Assert.False(Unanswered.Is(new InvalidOperationException()));
    }
}

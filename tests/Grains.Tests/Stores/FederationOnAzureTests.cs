using FedRLora.Abstractions.Messages;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

[Collection(AzuriteCollection.Name)]
public sealed class FederationOnAzureTests(AzuriteServer azurite)
{
    private static readonly string Plan = TestFederation.Plan(clients: 4, rounds: 3);

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(120)).Token;

    [AzuriteFact]
    public async Task A_run_has_the_same_digest_in_a_container_and_in_a_folder()
    {
        await using var folder = await TestFederation.StartAsync();
        await using var container = await TestFederation.StartAsync(["*", "*"], store: azurite.NewStore(prefix: "runs"));

        Assert.Equal(await folder.RunAsync("job", Plan, InTime), await container.RunAsync("job", Plan, InTime));
    }

    [AzuriteFact]
    public async Task A_server_that_is_away_in_mid_round_changes_no_bit()
    {
        await using var folder = await TestFederation.StartAsync();
        var expected = await folder.RunAsync("job", Plan, InTime);
        await using var container = await TestFederation.StartAsync(store: azurite.NewStore());
        var reached = new TaskCompletionSource();
        var away = new TaskCompletionSource();
        container.Trainer.BeforeTraining = async (group, token) =>
        {
            if (group.Round != 2) return;
            reached.TrySetResult();
            await away.Task.WaitAsync(token); // its results are written into the outage
        };
        await container.Coordinator("job").SubmitAsync(Plan, InTime);
        await reached.Task.WaitAsync(InTime);

        await azurite.StopAsync();
        away.SetResult();
        await Task.Delay(AzureOutageTests.Outage);
        await azurite.StartAsync();
        var over = await container.FinishAsync("job", InTime);

        Assert.True(over.Status == JobStatus.Finished, over.Reason);
        Assert.Equal(expected, over.NewRounds[^1].ManifestSha256);
    }
}

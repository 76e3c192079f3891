using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Tests;

public sealed class SiloLossTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    [Fact]
    public async Task A_silo_killed_in_mid_round_changes_no_bit()
    {
        var plan = TestFederation.Plan(clients: 8, rounds: 4);
        await using var undisturbed = await TestFederation.StartAsync();
        var expected = await undisturbed.RunAsync("job", plan, InTime);
        await using var federation = await TestFederation.StartAsync(["*", "*", "*"]);
        var reached = new TaskCompletionSource();
        federation.Trainer.BeforeTraining = async (group, _) =>
        {
            if (group.Round == 2) reached.TrySetResult();
            await Task.Yield();
        };
        await federation.Coordinator("job").SubmitAsync(plan, InTime);
        await reached.Task.WaitAsync(InTime);

        await federation.Cluster.KillSiloAsync(federation.Cluster.Silos[1]);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Finished, over.Status);
        Assert.Equal(expected, over.NewRounds[^1].ManifestSha256);
    }

    [Fact]
    public async Task Clients_run_only_on_silos_of_their_site()
    {
        await using var federation = await TestFederation.StartAsync(["north", "south", "south"]);

        await federation.RunAsync("job", TestFederation.Plan(clients: 6, rounds: 2, site: static i => i < 3 ? "north" : "south"), InTime);

        var management = federation.Cluster.Client.GetGrain<IManagementGrain>(0);
        foreach (var grain in await management.GetDetailedGrainStatistics())
        {
            var key = grain.GrainId.Key.ToString()!;
            if (!key.Contains('/', StringComparison.Ordinal)) continue; // coordinators have no site
            var silo = federation.Cluster.Silos.Single(silo => silo.SiloAddress.Equals(grain.SiloAddress));
            Assert.Equal(Keys.SiteOf(key), federation.SiteOf[silo.Name]);
        }
    }

    [Fact]
    public async Task A_site_without_a_silo_is_waited_for_and_left_out_when_the_plan_says_so()
    {
        await using var federation = await TestFederation.StartAsync(["north"]);
        var plan = TestFederation.Plan(clients: 4, rounds: 2, site: static i => i < 3 ? "north" : "south",
            strategy: "  quorum: 0.5\n  siteLoss: continue");

        await federation.RunAsync("job", plan, InTime);

        var last = (await federation.FinishAsync("job", InTime)).NewRounds[^1].Manifest;
        Assert.Equal([ClientOutcome.Trained, ClientOutcome.Trained, ClientOutcome.Trained],
            last.Clients.Take(3).Select(static client => client.Outcome));
        Assert.NotEqual(ClientOutcome.Trained, last.Clients[3].Outcome);
    }

    [Fact]
    public async Task A_report_that_is_sent_again_is_counted_once_and_nobody_trains_twice()
    {
        await using var federation = await TestFederation.StartAsync(resendAfter: TimeSpan.FromMilliseconds(50));
        var waiting = new ConcurrentBag<string>();
        federation.Trainer.BeforeTraining = async (group, token) =>
        {
            waiting.Add(group.Members[0].Client.Id);
            await Task.Delay(400, token); // several resends fall into it
        };

        await federation.RunAsync("job", TestFederation.Plan(clients: 3, rounds: 1), InTime);

        Assert.Equal(["c00000", "c00001", "c00002"],
            federation.Trainer.Trained.Select(static work => work.Client).Order(StringComparer.Ordinal));
        Assert.All((await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients,
            static client => Assert.Equal(1.0 / 3, client.Weight, 0.2));
    }

    [Fact]
    public async Task A_site_cuts_its_cohort_into_groups_of_the_size_the_plan_says()
    {
        await using var federation = await TestFederation.StartAsync();
        var members = new ConcurrentBag<int>();
        federation.Trainer.BeforeTraining = (group, _) =>
        {
            members.Add(group.Members.Count);
            return Task.CompletedTask;
        };

        await federation.RunAsync("job", TestFederation.Plan(clients: 5, rounds: 1, more: "training: {groupSize: 2}"), InTime);

        Assert.Equal([1, 2, 2], members.Order());
    }
}

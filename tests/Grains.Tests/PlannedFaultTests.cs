using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Faults;

namespace FedRLora.Grains.Tests;

/// <summary>Plans with faults: who is refused and named, and when a round goes on.</summary>
public sealed class PlannedFaultTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Theory]
    [InlineData("nan", "A holds NaN at element 0.")]
    [InlineData("wrongShape", "A has shape [3], expected [4].")]
    [InlineData("fail", "Failed in round 1, as the plan's faults say.")]
    public async Task Three_of_ten_bad_updates_are_refused_by_name_and_the_round_goes_on(string kind, string reason)
    {
        await using var federation = await StartAsync();

        await federation.RunAsync("job", TestFederation.Plan(clients: 10, rounds: 2, strategy: "  quorum: 0.7",
            more: $"faults: [{{kind: {kind}, share: 0.3, rounds: {{to: 1}}}}]"), InTime);

        var rounds = (await federation.FinishAsync("job", InTime)).NewRounds;
        var refused = rounds[1].Manifest.Clients
            .Where(client => client.Outcome == (kind == "fail" ? ClientOutcome.Failed : ClientOutcome.Refused)).ToList();
        Assert.Equal(Enumerable.Repeat(reason, 3), refused.Select(static client => client.Reason));
        Assert.Equal(7, rounds[1].Manifest.Clients.Count(static client => client.Outcome == ClientOutcome.Trained));
        Assert.All(refused, static client => Assert.Null(client.Head));
        Assert.All(rounds[2].Manifest.Clients, static client => Assert.Equal(ClientOutcome.Trained, client.Outcome));
    }

    [Fact]
    public async Task A_manifest_says_whose_update_a_robust_rule_left_out()
    {
        await using var federation = await StartAsync();

        await federation.RunAsync(
            "job", TestFederation.Plan(clients: 6, rounds: 1, strategy: "  aggregation: {rule: multiKrum, byzantine: 1, keep: 3}",
                more: "faults: [{kind: huge, clients: [c00003]}]"), InTime);

        var clients = (await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients;
        Assert.Equal(3, clients.Count(static client => client.Curbed is null));
        Assert.NotNull(clients[3].Curbed);
        Assert.All(clients, static client => Assert.Equal(ClientOutcome.Trained, client.Outcome));
    }

    [Fact]
    public async Task Too_many_bad_updates_for_the_quorum_stop_the_job_with_the_reason()
    {
        await using var federation = await StartAsync();

        await federation.Coordinator("job").SubmitAsync(TestFederation.Plan(clients: 10, rounds: 2, strategy: "  quorum: 0.8",
            more: "faults: [{kind: nan, share: 0.3, rounds: {from: 2}}]"), InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, over.Status);
        Assert.StartsWith("Round 2 had 7 usable of 10 updates in try 3 of 3, the quorum is 8. ", over.Reason, StringComparison.Ordinal);
        Assert.Contains("A holds NaN at element 0.", over.Reason, StringComparison.Ordinal);
        Assert.Equal(1, over.NewRounds[^1].Manifest.Round);
    }

    [Fact]
    public async Task Silent_clients_of_a_group_are_late_and_the_others_are_not()
    {
        await using var federation = await StartAsync();

        await federation.RunAsync("job", TestFederation.Plan(clients: 4, rounds: 1, strategy: "  quorum: 0.5\n  deadline: 2s",
            more: "training: {groupSize: 2}\nfaults: [{kind: silent, clients: [c00001]}]"), InTime);

        var clients = (await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients;
        Assert.Equal([ClientOutcome.Trained, ClientOutcome.Late, ClientOutcome.Trained, ClientOutcome.Trained],
            clients.Select(static client => client.Outcome));
    }

    [Fact]
    public async Task A_group_of_silent_clients_is_waited_for_until_the_deadline()
    {
        await using var federation = await StartAsync();

        await federation.RunAsync("job", TestFederation.Plan(clients: 4, rounds: 1, strategy: "  quorum: 0.5\n  deadline: 2s",
            more: "training: {groupSize: 2}\nfaults: [{kind: silent, clients: [c00002, c00003]}]"), InTime);

        var clients = (await federation.FinishAsync("job", InTime)).NewRounds[1].Manifest.Clients;
        Assert.Equal([ClientOutcome.Trained, ClientOutcome.Trained, ClientOutcome.Late, ClientOutcome.Late],
            clients.Select(static client => client.Outcome));
    }

    [Fact]
    public async Task The_same_faults_give_the_same_digest_on_one_silo_and_on_three()
    {
        var plan = TestFederation.Plan(clients: 6, rounds: 4, strategy: "  quorum: 0.3\n  aggregation: median",
            more: "faults: [{kind: signFlip, share: 0.4, probability: 0.5}, {kind: nan, share: 0.4, probability: 0.5}]");
        await using var one = await StartAsync("*");
        await using var three = await StartAsync("*", "*", "*");

        Assert.Equal(await one.RunAsync("job", plan, InTime), await three.RunAsync("another", plan, InTime));
    }

    [Fact]
    public async Task A_plan_without_faults_gives_the_digest_of_the_bare_trainer()
    {
        var plan = TestFederation.Plan(clients: 3, rounds: 2);
        await using var bare = await TestFederation.StartAsync();
        await using var wrapped = await StartAsync();

        Assert.Equal(await bare.RunAsync("job", plan, InTime), await wrapped.RunAsync("job", plan, InTime));
    }

    [Fact]
    public async Task Too_few_updates_for_the_rule_stop_the_job_with_the_bound()
    {
        await using var federation = await StartAsync();

        await federation.Coordinator("job").SubmitAsync(
            TestFederation.Plan(clients: 10, rounds: 2, strategy: "  quorum: 0.5\n  maxAttempts: 2\n  aggregation: {rule: krum, byzantine: "
                + "1, perTask: true}", more: "faults: [{kind: fail, clients: [c00002], rounds: {from: 2}}]"), InTime);
        var over = await federation.FinishAsync("job", InTime);

        Assert.Equal(JobStatus.Failed, over.Status);
        Assert.Contains("Task t0: krum with byzantine: 1 needs at least 5 updates, there are 4.", over.Reason, StringComparison.Ordinal);
        Assert.Equal(1, over.NewRounds[^1].Manifest.Round);
    }

    private static Task<TestFederation> StartAsync(params string[] sites) =>
        TestFederation.StartAsync(sites.Length == 0 ? null : sites,
            around: static trainer => new FaultyTrainer(trainer, TimeProvider.System));
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Tests;

/// <summary>What a coordinator carries from round to round beside what moves: its optimizer's memory, and sums of statistics.</summary>
public sealed class ServerStateTests
{
    private const string Job = "job", Momentum = "  serverOptimizer: momentum\n";
    private const string Scaffold = "training: {optimizer: sgd, schedule: constant, warmupSteps: 0}";

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    [Fact]
    public async Task What_is_remembered_of_a_tensor_that_the_lifecycle_began_again_is_void()
    {
        await using var federation = await TestFederation.StartAsync();
        federation.Trainer.Advance = (round, task, state) => round != 3 || task is not null
            ? new(state, new HashSet<string>())
            : new(new(state.Select(static array => KeyValuePair.Create(array.Key, array.Value with { Data = new float[4] }))),
                new HashSet<string> { "A" });
        await federation.RunAsync(Job, TestFederation.Plan(strategy: Momentum, adapter: TestFederation.TaskHeads), InTime);

        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds;
        var (before, last) = (rounds[2].Manifest, rounds[3].Manifest);
        var velocity = (await RememberedAsync(federation, last))["momentum/v/A"].Data;
        Assert.Equal((await SharedAsync(federation, last))["A"].Data, velocity); // from zero, by the round's own aggregate alone
        velocity = (await RememberedAsync(federation, before))["momentum/v/A"].Data;
        Assert.NotEqual((await SharedAsync(federation, before))["A"].Data, velocity);
    }

    [Fact]
    public async Task A_round_carries_what_it_does_not_move_and_what_is_remembered_of_it()
    {
        await using var federation = await TestFederation.StartAsync();
        const string Alternating = "{method: fedsa-lora, scopeB: task, lifecycle: [{rounds: odd, train: [A]}, {rounds: even, train: [B]}]}";
        await federation.RunAsync(Job, TestFederation.Plan(strategy: Momentum, adapter: Alternating), InTime);

        var rounds = (await federation.FinishAsync(Job, InTime)).NewRounds.Select(static round => round.Manifest).ToList();
        Assert.Equal(rounds[1].Shared, rounds[2].Shared);
        Assert.Equal(rounds[1].ServerOptimizer, rounds[2].ServerOptimizer);
        Assert.NotEqual(rounds[2].Shared, rounds[3].Shared);
        Assert.Null(rounds[2].Coherence);
        Assert.Equal(rounds[0].Tasks![0].Shared, rounds[1].Tasks![0].Shared);
        Assert.NotEqual(rounds[1].Tasks![0].Shared, rounds[2].Tasks![0].Shared);
    }

    [Fact]
    public async Task A_sum_of_statistics_is_part_of_what_a_round_commits_and_the_next_begins_with()
    {
        await using var federation = await TestFederation.StartAsync();
        var begun = new System.Collections.Concurrent.ConcurrentDictionary<int, float>();
        var sent = new System.Collections.Concurrent.ConcurrentBag<(int Round, float Value)>();
        federation.Trainer.Afterwards = (group, result) =>
        {
            begun[group.Round] = group.Shared["statistics/variates/A"].Data[0];
            sent.Add((group.Round, result.Update["statistics/variates/A"].Data[0]));
            return result;
        };
        await federation.RunAsync(
            Job, TestFederation.Plan(more: Scaffold, adapter: "{method: fedsa-lora, objectives: [controlVariates]}"), InTime);

        var last = (await federation.FinishAsync(Job, InTime)).NewRounds[^1].Manifest;
        Assert.Equal(0, begun[1]);
        for (var round = 1; round <= 3; round++)
        {
            var sum = sent.Where(one => one.Round == round).Sum(static one => (double)one.Value);
            var after = round == 3 ? (await SharedAsync(federation, last))["statistics/variates/A"].Data[0] : begun[round + 1];
            Assert.Equal((float)(begun[round] + (sum / 4)), after, 1e-6f);
        }
    }

    [Fact]
    public async Task A_fork_keeps_what_its_rule_remembers_and_begins_another_rule_afresh()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("source", TestFederation.Plan(strategy: Momentum), InTime);
        var source = (await federation.FinishAsync("source", InTime)).NewRounds[3].Manifest;

        await federation.Coordinator("same").ForkAsync(
            "source", 3, TestFederation.Plan(rounds: 1, strategy: Momentum), cancellationToken: InTime);
        var same = (await federation.FinishAsync("same", InTime)).NewRounds.Select(static round => round.Manifest).ToList();
        await federation.Coordinator("other").ForkAsync(
            "source", 3, TestFederation.Plan(rounds: 1, strategy: "  serverOptimizer: adam\n"), cancellationToken: InTime);
        var other = (await federation.FinishAsync("other", InTime)).NewRounds[1].Manifest;

        Assert.Equal(source.ServerOptimizer, same[0].ServerOptimizer);
        Assert.NotEqual(same[0].ServerOptimizer, same[1].ServerOptimizer);
        Assert.Equal(
            ["adam/m/A", "adam/v/A"], (await federation.Store.ReadStateAsync(other.ServerOptimizerOf("other")!, InTime)).Keys);
    }

    [Fact]
    public async Task A_fork_that_would_mistake_what_was_carried_is_refused()
    {
        await using var federation = await TestFederation.StartAsync();
        const string Variates = "{method: fedsa-lora, objectives: [controlVariates]}";
        const string Chain = "{method: fedsa-lora, lifecycle: [{rounds: 2, do: mergeAndRedraw}]}";
        await federation.RunAsync("variates", TestFederation.Plan(more: Scaffold, adapter: Variates), InTime);
        await federation.RunAsync("chain", TestFederation.Plan(adapter: Chain), InTime);

        Assert.Equal(
            "A fork keeps the clients of variates, whose statistics variates are the mean over all of them: give the plan the same "
            + "clients, or begin a new run with it.",
            await RefusedAsync("variates", TestFederation.Plan(clients: 5, more: Scaffold, adapter: Variates)));
        Assert.Contains(
            "of which the plan has other values", await RefusedAsync("variates", TestFederation.Plan()), StringComparison.Ordinal);
        Assert.Equal(
            "Round 3 of chain holds links or a mask that its lifecycle made, and a fork counts its rounds from 1 again: fork from round 2 "
            + "or before.",
            await RefusedAsync("chain", TestFederation.Plan(adapter: Chain)));

        async Task<string> RefusedAsync(string source, string plan) => (await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator("fork").ForkAsync(source, 3, plan, cancellationToken: InTime))).Message;
    }

    [Fact]
    public async Task An_extension_that_would_move_what_the_lifecycle_has_done_is_refused()
    {
        await using var federation = await TestFederation.StartAsync();
        const string Last = "{method: fedsa-lora, lifecycle: [{rounds: last 2, do: mergeAndRedraw}]}";
        await federation.RunAsync(Job, TestFederation.Plan(adapter: Last), InTime);

        var refused = await Assert.ThrowsAsync<BadInputException>(() =>
            federation.Coordinator(Job).ExtendAsync(TestFederation.Plan(rounds: 9, adapter: Last), cancellationToken: InTime));

        Assert.Equal(
            "Run job was to have mergeAndRedraw after round 2 as one of rounds \"last 2\" of 3, and of 9 it would be another; "
            + "begin a new run with more rounds.", refused.Message);
    }

    private static Task<AdapterState> SharedAsync(TestFederation federation, RoundManifest manifest) =>
        federation.Store.ReadStateAsync(manifest.SharedOf(Job), InTime);

    private static Task<AdapterState> RememberedAsync(TestFederation federation, RoundManifest manifest) =>
        federation.Store.ReadStateAsync(manifest.ServerOptimizerOf(Job)!, InTime);
}

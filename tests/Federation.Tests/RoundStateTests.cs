using System.Text.Json;
using FedRLora.Federation.Rounds;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>Runs alone: one of its tests measures the heap.</summary>
[CollectionDefinition("alone", DisableParallelization = true), Collection("alone")]
public class RoundStateTests
{
    [Fact]
    public void Bookkeeping_is_at_most_a_kilobyte_for_each_client()
    {
        const int Count = 10_000;
        var plan = Of([.. Enumerable.Range(0, Count).Select(i => Client($"client-{i:00000}"))]);
        var machine = new RoundMachine(plan);
        var state = machine.Next(RoundState.Initial, new RoundEvent.Started(0, "zero", [])).State;
        state = machine.Next(state, new RoundEvent.ClientReported(Trained(1, "client-00000"))).State;

        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 1; i < Count; i++)
            state = machine.Next(state, new RoundEvent.ClientReported(Trained(1, $"client-{i:00000}"))).State;
        state = machine.Next(state, new RoundEvent.SiteConfirmed("local", 1, 1, 1, new Dictionary<string, string>())).State;
        state = machine.Next(state, new RoundEvent.Aggregated(1, 1, Candidate(1))).State;
        for (var i = 0; i < Count; i++)
            state = machine.Next(state, new RoundEvent.ClientReported(Scored(1, $"client-{i:00000}"))).State;
        var perClient = (GC.GetTotalMemory(forceFullCollection: true) - before) / (double)Count;

        Assert.Equal(Phase.Committing, state.Phase);
        Assert.True(perClient <= 1024, $"{perClient:0} bytes for each client.");
    }

    [Fact]
    public void A_state_survives_the_grain_serializer()
    {
        var services = new ServiceCollection();
        services.AddSerializer();
        using var provider = services.BuildServiceProvider();
        var serializer = provider.GetRequiredService<Serializer<RoundState>>();
        Assert.All(States(), state => Assert.Equal(Text(state), Text(serializer.Deserialize(serializer.SerializeToArray(state))!)));
    }

    [Fact]
    public void A_state_survives_json() =>
        Assert.All(
            States(), state => Assert.Equal(Text(state), Text(JsonSerializer.Deserialize<RoundState>(JsonSerializer.Serialize(state))!)));

    /// <summary>Every state of a job of two rounds with a failure.</summary>
    private static List<RoundState> States()
    {
        var plan = Of("a", "b", "c").With(strategy => strategy with { Quorum = 0.5 });
        var world = new World(plan, 1, (_, _, client) => client == "b" ? "out of memory" : null);
        var states = new List<RoundState> { world.State };
        world.Start();
        while (world.State.Phase != Phase.Finished)
        {
            states.Add(world.State);
            world.Step();
        }
        states.Add(world.State);
        Assert.Contains(states, state => state.Phase == Phase.Committing && state.Failures == 1);
        return states;
    }

    private static string Text(RoundState state) =>
        JsonSerializer.Serialize(state with { Reports = state.Reports.Clear(), Scores = state.Scores.Clear() })
        + string.Join('\n', state.Reports.OrderBy(pair => pair.Key).Select(pair => $"{pair}"))
        + string.Join('\n', state.Scores.OrderBy(pair => pair.Key).Select(pair => $"{pair}"));
}

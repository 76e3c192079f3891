using System.Text.Json;
using FedRLora.Federation.Rounds;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class RoundStateTests
{
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
        Assert.All(States(), state => Assert.Equal(Text(state), Text(JsonSerializer.Deserialize<RoundState>(JsonSerializer.Serialize(state))!)));

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

    private static string Text(RoundState state) => JsonSerializer.Serialize(state with { Reports = state.Reports.Clear(), Scores = state.Scores.Clear() })
        + string.Join('\n', state.Reports.OrderBy(pair => pair.Key).Select(pair => $"{pair}")) + string.Join('\n', state.Scores.OrderBy(pair => pair.Key).Select(pair => $"{pair}"));
}

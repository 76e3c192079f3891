using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Tests;
using FedRLora.Training;
using FedRLora.Training.Tests;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Federation;

public sealed class OneClientTests(ITestOutputHelper log)
{
    private const int Rounds = 5;

    [Theory]
    [InlineData("fedsa-lora")]
    [InlineData("lora")]
    [InlineData("r-lora")]
    [InlineData("r-lora-federated")]
    public async Task One_client_through_the_federation_trains_as_the_trainer_alone(string method)
    {
        using var tiny = new TinyFederation();
        var yaml = await RunAsync(tiny, method);
        var plan = PlanReader.Require(yaml, "tiny.yaml");
        using var trainer = tiny.Trainer();
        var (shared, result) = (await trainer.InitialSharedAsync(plan), (TrainingResult?)null);
        for (var round = 1; round <= Rounds; round++)
        {
            result = await TrainAsync(trainer, plan, round, shared, result?.Head, result?.Optimizer);
            shared = Sum(shared, result.Update);

            var committed = Committed(tiny, StoredRounds.Shared(Path.Combine(tiny.Root, "federated", "store"), "tiny", round));
            var (ulps, relative) = Worst(shared, committed, committed);
            log.WriteLine($"{method}, round {round}: at most {ulps:F0} ulp, {relative:E1} relative, over {committed.Count} shared tensors");
            Assert.Equal(shared.Keys, committed.Keys);
            Assert.True(round > 1 || ulps <= 1, $"{ulps} ulp after one round");
            Assert.True(relative <= 1e-5, $"{relative} relative after round {round}");
        }

        var head = Committed(tiny, Keys.Head("tiny", "local", "one", Rounds));
        Assert.Equal(result!.Head.Keys, head.Keys);
        Assert.True(Worst(result.Head, head, head).Relative <= 1e-5);
    }

    [Fact]
    public async Task What_is_committed_is_what_the_client_had_in_memory_but_for_the_rounding_of_its_update()
    {
        using var tiny = new TinyFederation();
        var yaml = await RunAsync(tiny, "fedsa-lora");
        using var trainer = tiny.Trainer();
        var before = await trainer.InitialSharedAsync(PlanReader.Require(yaml, "tiny.yaml"));

        // With nothing shared every tensor is the client's own and no update is formed: the absolute values after training.
        var after = await TrainAsync(trainer, PlanReader.Require(yaml + "\nsharing: none\n", "tiny.yaml"), 1,
            AdapterState.Empty, null, null);

        var (ulps, relative) = Worst(after.Head,
            Committed(tiny, StoredRounds.Shared(Path.Combine(tiny.Root, "federated", "store"), "tiny", 1)), before);
        log.WriteLine($"at most {ulps:F2} ulp of the larger of before and after, {relative:E1} relative to the tensor's largest");
        Assert.True(ulps <= 1, $"{ulps} ulp");
    }

    private static async Task<string> RunAsync(TinyFederation tiny, string method)
    {
        var plan = TinyPlan.Write(tiny, Rounds, TinyPlan.Client("one", "one"));
        var yaml = (await File.ReadAllTextAsync(plan)).Replace("method: r-lora-federated", $"method: {method}", StringComparison.Ordinal);
        await File.WriteAllTextAsync(plan, yaml);
        await RunningProgram.RunAsync(tiny.Root, "simulate", plan, "--out", "federated");
        return yaml;
    }

    private static async Task<TrainingResult> TrainAsync(
        LocalTrainer trainer, FederationPlan plan, int round, AdapterState shared, AdapterState? head, AdapterState? optimizer)
    {
        var member = new GroupMember { Client = plan.Clients[0], Head = head, Optimizer = optimizer };
        var result = Assert.Single(
            await trainer.TrainAsync(new TrainingGroup { Plan = plan, Round = round, Shared = shared, Members = [member] }));
        Assert.Null(result.Failure);
        return result;
    }

    private static AdapterState Sum(AdapterState shared, AdapterState update) => new(shared.Select(entry =>
        KeyValuePair.Create(entry.Key,
            entry.Value with { Data = [.. entry.Value.Data.Zip(update[entry.Key].Data, static (before, change) => before + change)] })));

    private static AdapterState Committed(TinyFederation tiny, string key)
    {
        var file = Path.Combine(tiny.Root, "federated", "store", key);
        return SafetensorsCodec.Read(File.ReadAllBytes(file), file);
    }

    /// <summary>In ulps of the larger of the expected value and where it started, and relative to the tensor's largest element.</summary>
    private static (double Ulps, double Relative) Worst(AdapterState expected, AdapterState actual, AdapterState start)
    {
        var (ulps, relative) = (0.0, 0.0);
        foreach (var (name, array) in actual)
        {
            var largest = expected[name].Data.Max(Math.Abs);
            for (var i = 0; i < array.Data.Length; i++)
            {
                var difference = Math.Abs((double)expected[name].Data[i] - array.Data[i]);
                var magnitude = Math.Max(Math.Abs(expected[name].Data[i]), Math.Abs(start[name].Data[i]));
                ulps = Math.Max(ulps, difference / (MathF.BitIncrement(magnitude) - (double)magnitude));
                relative = Math.Max(relative, difference / largest);
            }
        }

        return (ulps, relative);
    }
}

using System.Diagnostics;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using TorchSharp;
using Xunit.Abstractions;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>The real small checkpoint on real task data.</summary>
public sealed class StoriesTrainingTests(ITestOutputHelper output)
{
    [SharedFact]
    public async Task A_client_learns_its_task_over_two_rounds_and_the_memory_stays_flat()
    {
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = SharedFolder.Root! });
        var client = new ClientSpec
        {
            Id = "sst2",
            Task = "sst2",
            Data = new() { Train = "data/sst2/train.jsonl", Test = "data/sst2/test.jsonl" },
        };
        var plan = new FederationPlan
        {
            Name = "stories", Seed = 1, Model = new() { Path = "models/stories260k" }, Clients = [client],
            Training = new() { Steps = 60, LearningRate = 3e-3, Threads = 1 }, Strategy = new() { Rounds = 2 },
            Evaluation = new() { MaxRows = 200 },
        };
        var shared = await trainer.InitialSharedAsync(plan);
        var member = new GroupMember { Client = client };
        var start = Assert.Single(await trainer.EvaluateAsync(new() { Plan = plan, Round = 0, Shared = shared, Members = [member] }));
        Assert.Null(start.Failure);
        for (var round = 1; round <= 2; round++)
        {
            var clock = Stopwatch.StartNew();
            var result = Assert.Single(await trainer.TrainAsync(new() { Plan = plan, Round = round, Shared = shared, Members = [member] }));
            Assert.Null(result.Failure);
            output.WriteLine($"round {round}: {clock.Elapsed.TotalMilliseconds / result.Numbers.Steps:F1} ms/step, "
                + $"loss {result.Numbers.MeanLoss:F4} last "
                + $"{result.Numbers.LastLoss:F4}, norm {result.Numbers.ProductNorm:F3}, live tensors {torch.Tensor.TotalCount}");
            shared = SoloRun.Sum(shared, result.Update);
            member = member with { Head = result.Head, Optimizer = result.Optimizer };
        }

        var clock2 = Stopwatch.StartNew();
        var end = Assert.Single(await trainer.EvaluateAsync(new() { Plan = plan, Round = 2, Shared = shared, Members = [member] }));
        output.WriteLine($"{start} -> {end} in {clock2.Elapsed.TotalSeconds:F1} s");
        Assert.True(end.Loss < 0.5 * start.Loss, $"{start.Loss} -> {end.Loss}");
        Assert.Equal("accuracy", end.Metric);
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Inputs;
using FedRLora.Training.Lanes;
using TorchSharp;
using Xunit.Abstractions;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Groups of several runs at once in lanes: the same bits as one after the other. Live tensors are the whole process's.</summary>
[Collection(nameof(LeakTests))]
public sealed class LaneTests(ITestOutputHelper log) : IDisposable
{
    private static readonly string[] Ids = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(4, 1)]
    [InlineData(1, 4)]
    [InlineData(2, 4)]
    [InlineData(4, 4)]
    public async Task Two_runs_at_once_give_the_bits_of_each_alone_in_one_lane(int lanes, int groupSize)
    {
        var (a, b) = (PlanOf("r-lora"), PlanOf("fedsa-lora"));
        string[] alone = [await AloneAsync(a, groupSize), await AloneAsync(b, groupSize)];

        using var trainer = TrainerWith(lanes);
        Assert.Equal(alone, await Task.WhenAll(RoundAsync(trainer, a, groupSize), RoundAsync(trainer, b, groupSize)));
    }

    [Fact]
    public async Task Runs_of_one_and_of_two_threads_side_by_side_give_the_bits_of_each_alone()
    {
        var (one, two) = (PlanOf("r-lora"), PlanOf("r-lora") with { Name = "two" });
        two = two with { Training = two.Training with { Threads = 2 } };
        string[] alone = [await AloneAsync(one, 1), await AloneAsync(two, 1)];

        using var trainer = TrainerWith(lanes: 2);
        for (var round = 0; round < 3; round++)
            Assert.Equal(alone, await Task.WhenAll(RoundAsync(trainer, one, 1), RoundAsync(trainer, two, 1)));
    }

    [Fact]
    public async Task Groups_that_do_not_fit_into_memory_together_run_in_turn_with_the_same_bits()
    {
        var plan = PlanOf("r-lora");
        var alone = await AloneAsync(plan, 2);

        using var trainer = TrainerWith(lanes: 4, bytes: 1);
        Assert.Equal(alone, await RoundAsync(trainer, plan, 2));
    }

    [Fact]
    public async Task Eight_groups_that_begin_at_once_map_the_base_once()
    {
        using var trainer = TrainerWith(lanes: 4);
        await RoundAsync(trainer, PlanOf("r-lora"), 1);
        Assert.Equal(1, trainer.Loads);
    }

    [Fact]
    public async Task A_base_that_could_not_be_loaded_is_loaded_by_the_next_who_asks()
    {
        using var trainer = TrainerWith(lanes: 2);
        var (plan, weights) = (PlanOf("r-lora"), Path.Combine(_tiny.Root, "model", "model.safetensors"));
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var whole = await File.ReadAllBytesAsync(weights);
        await File.WriteAllBytesAsync(weights, whole[..^100]);
        await Assert.ThrowsAsync<FedRLora.Abstractions.BadInputException>(() => trainer.TrainAsync(group));
        await File.WriteAllBytesAsync(weights, whole);
        Assert.Null(Assert.Single(await trainer.TrainAsync(group)).Failure);
    }

    [Fact]
    public async Task A_load_that_failed_when_nobody_waited_any_more_is_no_failure_of_the_next_who_asks()
    {
        var (plan, folder) = (PlanOf("r-lora"), Path.Combine(_tiny.Root, "model"));
        var changed = Path.Combine(folder, "tokenizer_config.json");
        var whole = await File.ReadAllTextAsync(changed);
        using var cancelling = new CancellationTokenSource();
        using var left = new ManualResetEventSlim();
        // The folder is read once more when it is loaded, on the lane, and is changed meanwhile.
        var clock = new ClockOfLanes(() =>
        {
            cancelling.Cancel();
            left.Wait(TimeSpan.FromSeconds(30));
            File.WriteAllText(changed, whole + "\n");
        });
        using var lanes = new DeviceLanes(torch.CPU, lanes: 1);
        using var bases = new FrozenBases(lanes, new LocalInputs(_tiny.Root, new FileDigests(new DigestCache(null), clock)));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => bases.GetAsync(plan, folder, cancelling.Token));
        left.Set();
        await lanes.RunAsync(new("", 1, 0), static _ => true, CancellationToken.None); // the load has ended
        await File.WriteAllTextAsync(changed, whole);

        Assert.NotNull(await bases.GetAsync(plan, folder, CancellationToken.None));
        Assert.Equal(2, bases.Loads);
    }

    [Fact]
    public async Task A_trainer_can_be_let_go_at_any_moment_of_its_steps()
    {
        var plan = PlanOf("r-lora") with { Training = PlanOf("r-lora").Training with { Steps = 100_000 } };
        for (var i = 0; i < 50; i++)
        {
            var trainer = TrainerWith(lanes: 2);
            var group = await TinyFederation.GroupAsync(trainer, plan, "one");
            var other = group with { Members = [new GroupMember { Client = TinyFederation.Client("two") }] };
            var live = torch.Tensor.TotalCount;
            Task[] training = [trainer.TrainAsync(group), trainer.TrainAsync(other)];
            // A step lasts about a millisecond, so each time another part of one is met.
            while (trainer.Loads == 0 || torch.Tensor.TotalCount < live + 200 + i) Thread.Yield();
            trainer.Dispose();
            foreach (var task in training) await Assert.ThrowsAnyAsync<OperationCanceledException>(() => task);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => trainer.TrainAsync(group));
        }
    }

    [Fact]
    public async Task As_many_tensors_live_after_200_steps_in_two_lanes_as_after_20()
    {
        using var trainer = TrainerWith(lanes: 2);
        var counts = new List<long>();
        foreach (var steps in (int[])[5, 20, 20, 200, 20])
        {
            var plan = PlanOf("r-lora") with { Training = PlanOf("r-lora").Training with { Steps = steps } };
            await RoundAsync(trainer, plan, 2);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            counts.Add(torch.Tensor.TotalCount);
            log.WriteLine($"{steps} steps: {counts[^1]} tensors live after, {Environment.WorkingSet / 1e6:F0} MB resident");
        }

        Assert.All(counts.Skip(2), count => Assert.InRange(count, 0, counts[1])); // fewer is what a finalizer came to late
    }

    [Fact]
    public async Task Members_are_scored_side_by_side_and_come_in_their_order_with_the_bits_of_one_lane()
    {
        var plan = PlanOf("r-lora");
        using var one = TrainerWith(lanes: 1);
        using var four = TrainerWith(lanes: 4);
        var group = await TinyFederation.GroupAsync(one, plan, "one", "two");
        group = group with { Members = [.. Ids.Select(Member)] };

        var expected = await one.EvaluateAsync(group);
        var scored = await four.EvaluateAsync(group);

        Assert.Equal(Ids, scored.Select(static result => result.ClientId));
        Assert.Equal(expected.Select(static result => (result.Score, result.Loss)),
            scored.Select(static result => (result.Score, result.Loss)));
        Assert.All(expected.Zip(scored), static pair => Assert.Equal(pair.First.RowScores, pair.Second.RowScores));
        Assert.Equal(one.Scorings, four.Scorings); // what is equal is scored once in lanes too
    }

    private sealed class ClockOfLanes(Action first) : TimeProvider
    {
        private Action? _first = first;

        public override DateTimeOffset GetUtcNow()
        {
            if (Thread.CurrentThread.Name is { } name && name.StartsWith("lane", StringComparison.Ordinal))
                Interlocked.Exchange(ref _first, null)?.Invoke();
            return base.GetUtcNow();
        }
    }

    private LocalTrainer TrainerWith(int lanes, long? bytes = null) => new(new() { Root = _tiny.Root, Lanes = lanes, LaneBytes = bytes });

    private FederationPlan PlanOf(string method) => _tiny.Plan(TinyFederation.TinyCatalogue(method)) with { Name = method };

    // Clients of their own draws on the rows of two.
    private static GroupMember Member(string id) =>
        new() { Client = TinyFederation.Client(Array.IndexOf(Ids, id) % 2 == 0 ? "one" : "two") with { Id = id } };

    private async Task<string> AloneAsync(FederationPlan plan, int groupSize)
    {
        using var trainer = TrainerWith(lanes: 1);
        return await RoundAsync(trainer, plan, groupSize);
    }

    // What all clients' training gave, as one digest.
    private static async Task<string> RoundAsync(LocalTrainer trainer, FederationPlan plan, int groupSize)
    {
        var shared = await trainer.InitialSharedAsync(plan);
        var results = await Task.WhenAll(Ids.Select(Member).Chunk(groupSize).Select(members => trainer.TrainAsync(
            new TrainingGroup { Plan = plan, Round = 1, Shared = shared, Members = members, Run = plan.Name })));
        using var bytes = new MemoryStream();
        foreach (var result in results.SelectMany(static group => group).OrderBy(static result => result.ClientId, StringComparer.Ordinal))
        {
            Assert.Null(result.Failure);
            bytes.Write(BitConverter.GetBytes(result.Numbers.MeanLoss));
            foreach (var (_, array) in ((IEnumerable<KeyValuePair<string, NamedArray>>)[.. result.Update, .. result.Head,
                .. result.Optimizer])
                .OrderBy(static entry => entry.Key, StringComparer.Ordinal))
                bytes.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(array.Data));
        }

        return Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes.ToArray()));
    }
}

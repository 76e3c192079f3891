using FedRLora.Abstractions.Plans;
using TorchSharp;
using Xunit.Abstractions;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Counts live tensors of the whole process, so nothing else runs meanwhile.</summary>
[CollectionDefinition(nameof(LeakTests), DisableParallelization = true)]
[Collection(nameof(LeakTests))]
public sealed class LeakTests(ITestOutputHelper log) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory, InlineData("r-lora"), InlineData("fedsa-lora")]
    public async Task As_many_tensors_live_after_200_steps_as_after_20(string method)
    {
        using var trainer = _tiny.Trainer();
        var (counts, peaks) = (new List<long>(), new List<long>());
        foreach (var steps in (int[])[5, 20, 20, 20, 20, 20, 200])
        {
            var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method)) with { Training = _tiny.Plan().Training with { Steps = steps } };
            var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
            var training = trainer.TrainAsync(group);
            peaks.Add(MostLive(training));
            Assert.All(await training, static result => Assert.Null(result.Failure));
            Assert.All(await trainer.EvaluateAsync(group), static result => Assert.Null(result.Failure));
            GC.Collect();
            GC.WaitForPendingFinalizers();
            counts.Add(torch.Tensor.TotalCount);
            log.WriteLine($"{method}, {steps} steps: {counts[^1]} tensors live after, {peaks[^1]} at most, "
                + $"{Environment.WorkingSet / 1e6:F0} MB resident");
        }

        // The first run loads the model. Tests before it may still be letting go of theirs, so that a count may fall.
        Assert.All(counts.Skip(2), count => Assert.InRange(count, 0, counts[1]));
        // A step that kept one tensor would add 180 from 20 steps to 200; what is seen depends a little on when one looks.
        var few = peaks[..^1].Max();
        Assert.True(peaks[^1] - few < 90, $"{few} live during 20 steps, {peaks[^1]} during 200");
    }

    // A step is short, and its peak far shorter: looking every millisecond would miss most of them.
    private static long MostLive(Task work)
    {
        var most = 0L;
        while (!work.IsCompleted)
        {
            most = Math.Max(most, torch.Tensor.TotalCount);
            Interlocked.MemoryBarrier(); // the count is a plain field
        }

        return most;
    }
}

using FedRLora.Abstractions.Plans;
using TorchSharp;

namespace FedRLora.Training.Tests.Trainer;

/// <summary>Counts live tensors of the whole process, so nothing else runs meanwhile.</summary>
[CollectionDefinition(nameof(LeakTests), DisableParallelization = true)]
[Collection(nameof(LeakTests))]
public sealed class LeakTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory, InlineData("r-lora"), InlineData("fedsa-lora")]
    public async Task As_many_tensors_live_after_200_steps_as_after_20(string method)
    {
        using var trainer = _tiny.Trainer();
        var counts = new List<long>();
        foreach (var steps in (int[])[5, 20, 100, 200])
        {
            var plan = _tiny.Plan(TinyFederation.TinyCatalogue(method)) with { Training = _tiny.Plan().Training with { Steps = steps } };
            var group = await TinyFederation.GroupAsync(trainer, plan, "one", "two");
            Assert.All(await trainer.TrainAsync(group), static result => Assert.Null(result.Failure));
            Assert.All(await trainer.EvaluateAsync(group), static result => Assert.Null(result.Failure));
            GC.Collect();
            GC.WaitForPendingFinalizers();
            counts.Add(torch.Tensor.TotalCount);
        }

        // The first run loads the model, and tests before it may still have been letting go of theirs.
        Assert.All(counts.Skip(2), count => Assert.Equal(counts[1], count));
    }
}

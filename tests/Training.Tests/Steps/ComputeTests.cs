using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Kernels;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Steps;

/// <summary>Products with frozen weights in bfloat16; everything else is float32.</summary>
public sealed class ComputeTests(ITestOutputHelper output) : IDisposable
{
    private readonly TinyFederation _tiny = new();

    [Theory, InlineData(WeightStorage.AsStored), InlineData(WeightStorage.Bfloat16), InlineData(WeightStorage.Nf4)]
    public async Task A_step_in_bfloat16_is_near_the_one_in_float32_and_not_the_same(WeightStorage storage)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("lora")) with { Model = new() { Path = "model", Storage = storage } };
        using var trainer = _tiny.Trainer();
        var wide = await TinyFederation.GroupAsync(trainer, plan, "one");
        var narrow = wide with
        {
            Plan = plan with { Training = plan.Training with { Compute = ComputeType.Bfloat16, AllowSlowCompute = true } },
        };

        var (one, other) = (Assert.Single(await trainer.TrainAsync(wide)), Assert.Single(await trainer.TrainAsync(narrow)));

        Close.AssertRelative(one.Numbers.MeanLoss, other.Numbers.MeanLoss, "loss", 2e-2);
        Assert.NotEqual(one.Numbers.MeanLoss, other.Numbers.MeanLoss);
        output.WriteLine($"loss {one.Numbers.MeanLoss} and {other.Numbers.MeanLoss}");
        // What is scored is float32 whatever a step computes in.
        Assert.Equal(
            Assert.Single(await trainer.EvaluateAsync(wide)).Loss, Assert.Single(await trainer.EvaluateAsync(narrow)).Loss);
    }

    [Fact]
    public void A_processor_without_units_is_refused_with_the_measured_slowdown_unless_it_is_allowed()
    {
        var training = new TrainingSpec { Compute = ComputeType.Bfloat16 };

        var refused = Assert.Throws<BadInputException>(() => ComputeUnits.Require(training, CPU, units: null, static () => 3.14));

        Assert.Matches(@"^training\.compute bfloat16: .* takes 3\.1 times as long as in float32", refused.Message);
        Assert.Contains("training.allowSlowCompute: true", refused.Message, StringComparison.Ordinal);
        ComputeUnits.Require(training with { AllowSlowCompute = true }, CPU, units: null);
        ComputeUnits.Require(training, CPU, units: null, static () => 0.9);
        ComputeUnits.Require(training, CPU, units: "some");
        ComputeUnits.Require(new TrainingSpec(), CPU, units: null);
    }

    [Fact]
    public void The_fingerprint_of_a_run_in_bfloat16_names_the_units()
    {
        var (wide, narrow) = (Engine.Fingerprint(CPU, 1), Engine.Fingerprint(CPU, 1, ComputeType.Bfloat16));

        Assert.NotEqual(wide.Kernels, narrow.Kernels);
        Assert.Contains(ComputeUnits.ForBfloat16 ?? "bfloat16-emulated", narrow.Kernels, StringComparison.Ordinal);
    }

    public void Dispose() => _tiny.Dispose();
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Tests.Adapters.Peft;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>A step over a real model whose products with frozen weights are in bfloat16, beside the one in float32.</summary>
[Collection(nameof(RealModels))]
public sealed class RealModelComputeTests(RealModels models, ITestOutputHelper output)
{
    /// <summary>Those whose weights are stored, over the file.</summary>
    public static TheoryData<string, string> Adapters
    {
        get
        {
            var adapters = new TheoryData<string, string>();
            foreach (var (name, adapter) in RealModels.Adapters.Cast<object[]>()
                .Select(static row => ((string)row[0], (string)row[1])).Distinct())
                if (RealModels.Has(name, adapter, "adapter_model.safetensors")) adapters.Add(name, adapter);
            return adapters;
        }
    }

    [SharedTheory, MemberData(nameof(Adapters))]
    public void A_step_in_bfloat16_is_near_the_one_in_float32_which_everything_but_products_is(string name, string adapter)
    {
        using var scope = NewDisposeScope();
        using var io = SafetensorsFile.Open(RealModels.Of(name, "io.safetensors"));
        Tensor Int64(string key) => ModelFixtureTests.Int64(io, key);
        var rows = PeftFixtureTests.RowsOf(Int64("input_ids"), Int64("attention_mask"), Int64("labels"));
        using var run = new PeftRun(models.Model(name), RealModels.Of(name, adapter),
            new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 });

        var wide = run.Gradients(rows);
        var expected = run.Saved.ToDictionary(static saved => saved.Name, static saved => saved.Gradient);
        var narrow = run.Gradients(rows, ScalarType.BFloat16);

        var distances = run.Saved.Select(saved => Distance(expected[saved.Name], saved.Gradient)).Order().ToList();
        output.WriteLine(
            $"loss {wide:F5} and {narrow:F5}: {Math.Abs(narrow - wide) / wide:E2}; gradients: median {distances[distances.Count / 2]:E2}, "
                + $"largest {distances[^1]:E2} of a tensor's norm");
        Assert.NotEqual(wide, narrow);
        Close.AssertRelative(wide, narrow, "loss", 2e-2);
        Assert.InRange(distances[^1], 1e-4, 0.5);
        Assert.InRange(distances[distances.Count / 2], 1e-4, 0.15);

        var (before, after) = run.Hidden(rows, ScalarType.BFloat16);
        foreach (var hidden in (Tensor[])[before, after])
        {
            Assert.Equal(ScalarType.Float32, hidden.dtype);
            // Not numbers that were bfloat16 somewhere and only widened.
            Assert.True(hidden.ne(hidden.to(ScalarType.BFloat16).to(ScalarType.Float32)).to(ScalarType.Float32).mean().item<float>() > 0.9);
        }
    }

    private static double Distance(float[] expected, float[] actual)
    {
        var difference = expected.Zip(actual, static (one, other) => Math.Pow((double)one - other, 2)).Sum();
        return Math.Sqrt(difference / expected.Sum(static value => (double)value * value));
    }
}

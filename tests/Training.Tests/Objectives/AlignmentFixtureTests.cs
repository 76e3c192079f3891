using FedRLora.Abstractions.Plans;
using FedRLora.Training.Objectives;
using FedRLora.Training.Tests.Golden;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Objectives;

/// <summary>The distances of Align-LoRA with true tasks and exact widths: losses, one pair, and gradients.</summary>
public sealed class AlignmentFixtureTests
{
    public static TheoryData<string> Folders => Fixtures.Of("method/align-lora/custom");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Distances_of_tasks_and_their_gradients_are_the_published(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        foreach (var (kind, name) in ((AlignmentKind, string)[])[(AlignmentKind.Kl, "kl"), (AlignmentKind.Mmd, "mmd_exact_widths")])
        {
            var single = Computed(numbers, kind, ScalarType.Float32);
            numbers.CompareOutput($"{name}.loss", TensorData(single.Loss));
            numbers.CompareOutput($"{name}.pair01_layer0", TensorData(single.Pair));
            foreach (var (layer, features) in single.Features.Index()) numbers.CompareGradient($"{name}.grad.layer{layer}", features.grad!);

            var wide = Computed(numbers, kind, ScalarType.Float64);
            AssertDoubles(numbers, $"fp64/{name}.loss", wide.Loss);
            AssertDoubles(numbers, $"fp64/{name}.pair01_layer0", wide.Pair);
            foreach (var (layer, features) in wide.Features.Index())
                AssertDoubles(numbers, $"fp64/{name}.grad.layer{layer}", features.grad!);
        }

        Assert.Equal(
            numbers.Doubles("fp64/mmd_exact_widths.beta"), KernelMeans.Widths.Select(static sigma => 1 / (2 * sigma)),
            static (a, b) => Math.Abs(a - b) <= 1e-12 * a);
    }

    // Statistics of a token's place over the samples of a task: places are a leading dimension.
    private static (Tensor Loss, Tensor Pair, IReadOnlyList<Tensor> Features) Computed(
        MethodNumbers numbers, AlignmentKind kind, ScalarType dtype)
    {
        var owners = numbers.Integers("task_index");
        var tasks = owners.Distinct().ToList();
        var features = Enumerable.Range(0, numbers.Config.GetProperty("layers").GetInt32())
            .Select(layer => numbers.Tensor($"features.layer{layer}").to(dtype).requires_grad_()).ToList();
        var pairs = Enumerable.Range(0, tasks.Count)
            .SelectMany(i => Enumerable.Range(i + 1, tasks.Count - i - 1).Select(j => (i, j))).ToList();
        var layers = features
            .Select(all => pairs.Select(pair => Distance(kind, Of(all, pair.i), Of(all, pair.j)).mean()).ToList()).ToList();
        var loss = stack([.. layers.Select(static layer => stack(layer).mean())]).mean();
        loss.backward();
        return (loss, layers[0][0], features);

        Tensor Of(Tensor all, int task)
        {
            long[] rows = [.. owners.Index().Where(row => row.Item == tasks[task]).Select(static row => (long)row.Index)];
            return all.index_select(0, tensor(rows)).transpose(0, 1); // [places, samples, R]
        }
    }

    private static Tensor Distance(AlignmentKind kind, Tensor x, Tensor y)
    {
        if (kind == AlignmentKind.Kl) return Gaussians.Of(x).Divergence(Gaussians.Of(y));
        var rows = new Gaussians(y, zeros_like(y)); // a mixture of components without variance
        static Tensor Sum(IEnumerable<Tensor> parts) => parts.Aggregate(static (sum, part) => sum.Plus(part));
        return Sum(KernelMeans.Within(x)).Plus(KernelMeans.Within(rows)) - Sum(KernelMeans.Across(x, null, rows)).mul(Living.Of(2));
    }

    private static float[] TensorData(Tensor value) => FedRLora.Training.Adapters.TensorData.Values(value);

    private static void AssertDoubles(MethodNumbers numbers, string name, Tensor actual)
    {
        var (reference, values) = (numbers.Doubles(name), actual.detach().contiguous().data<double>().ToArray());
        Assert.Equal(reference.Length, values.Length);
        var most = reference.Max(Math.Abs);
        foreach (var (expected, value) in reference.Zip(values))
            Assert.True(Math.Abs(expected - value) <= 1e-10 * (1 + most), $"{name}: {value} is not {expected}");
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>y -= lr (g + decay y) for all members of a stack, each with its own rate and clipping; it remembers nothing.</summary>
/// <param name="stack">Whose tensors are stepped.</param>
/// <param name="spec">Decay and clip norm.</param>
internal sealed class Sgd(AdapterStack stack, TrainingSpec spec) : IMemberOptimizer
{
    /// <inheritdoc/>
    public void Step(
        IReadOnlyList<double> learningRates, bool headsOnly = false, Action<int>? correct = null, Tensor? norms = null)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        stack.MoveByCounts(learningRates.Count);
        var stepping = stack.Blocks.Where(block => !headsOnly || block.Policy.IsHead).ToList();
        if (stepping.Count == 0) return;
        new Clipping(stepping, learningRates.Count, spec.ClipNorm, norms).Apply();
        correct?.Invoke(learningRates.Count);
        foreach (var block in stepping)
        {
            using var each = NewDisposeScope();
            Tensor Stepping(Tensor all) => all.narrow(0, 0, learningRates.Count);
            Tensor OfEach(Func<double, double> of) =>
                block.Value.device.To(tensor([.. learningRates.Select(of)], block.Value.dtype, CPU)).unsqueeze(1);
            var (value, gradient) = (Stepping(block.Value), Stepping(block.Gradient));
            if (spec.WeightDecay != 0) value.mul_(OfEach(rate => 1 - rate * spec.WeightDecay));
            value.add_(gradient * OfEach(static rate => -rate), Living.One);
        }
    }

    /// <inheritdoc/>
    public AdapterState Export(int member) => AdapterState.Empty;
}

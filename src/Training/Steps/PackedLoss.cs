using FedRLora.Training.Devices;
using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// Mean cross-entropy of each member over its tokens that carry loss. The LM head and its gradient are computed in pieces of some
/// rows, forward and backward at once, so that the logits of a batch never exist together.
/// </summary>
internal static class PackedLoss
{
    private const long LogitsPerPiece = 1 << 23;
    private const long LeastRows = 16;

    /// <summary>Runs the base forward and backward; gradients are added to the adapters'.</summary>
    /// <param name="model">The frozen base.</param>
    /// <param name="packing">The tokens.</param>
    /// <param name="adapters">The members' adapters, in the packing's order.</param>
    /// <param name="workspace">Memory for what the pass keeps.</param>
    /// <param name="checkpoints">Keeps the input of each layer alone and computes the layer again in the backward pass.</param>
    /// <param name="compute">Of products with frozen weights; null for the model's type.</param>
    /// <returns>float32 <c>[G]</c>: each member's loss, on the device.</returns>
    public static Tensor Gradients(
        CausalLanguageModel model, Packing packing, StackSlice adapters, Workspace workspace, bool checkpoints = false,
        ScalarType? compute = null)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        workspace.Reset();
        using var tape = new Tape(workspace);
        var pass = new TapedPass(model, tape, workspace, packing, adapters, checkpoints, compute);
        var hidden = model.FinalNorm(pass.Rows(model.BeforeFinalNorm(pass), packing.LossRows), pass);
        var weights = hidden.device.To(tensor(
            packing.LossCounts.SelectMany(static count => Enumerable.Repeat(1.0 / count, count)).ToArray(), hidden.dtype, CPU));
        var head = model.Frozen(model.LmHead).Computing(compute).In(hidden.dtype);
        Tensor losses;
        if (adapters.Layer(head.Module) is not null)
        {
            losses = UnderAdapters(pass, tape, head, hidden, packing, weights);
        }
        else
        {
            (losses, var gradient) = InPieces(head, hidden, packing.Targets, weights, tape.Tracks(hidden), workspace);
            if (gradient is not null) tape.Backward(hidden, gradient);
        }

        return ByMember(losses.mul(weights), packing).MoveToOuterDisposeScope();
    }

    // All logits at once, since their adapter is one layer of the pass. Padding has no weight.
    private static Tensor UnderAdapters(TapedPass pass, Tape tape, FrozenLinear head, Tensor hidden, Packing packing, Tensor weights)
    {
        var (losses, rows) = (packing.Losses, packing.Losses.Count);
        var isPadded = losses.Real.Any(real => real != rows);
        var places = isPadded
            ? hidden.device.To(tensor(
                losses.Real.SelectMany((real, member) => Enumerable.Range(member * rows, real).Select(static place => (long)place))
                    .ToArray(),
                ScalarType.Int64, CPU))
            : null;
        Tensor Padded(Tensor values) =>
            places is null ? values : zeros([(long)losses.Real.Count * rows], values.dtype, values.device).index_copy_(0, places, values);
        var logits = pass.AdaptedLogits(head, hidden, places);
        var (each, factors) = (empty([logits.shape[0]], hidden.dtype, hidden.device),
            empty([logits.shape[0]], hidden.dtype, hidden.device));
        StepKernels.For(hidden.device, hidden.dtype).CrossEntropy(logits, Padded(packing.Targets), each, factors);
        // Nobody reads them any more: their memory has become the gradient's.
        tape.Backward(logits, logits.mul_(factors.mul_(Padded(weights)).unsqueeze(1)));
        return places is null ? each : each.index_select(0, places);
    }

    // The gradient of row i is w_i (softmax(logits_i) - onehot(target_i)) W.
    private static (Tensor Losses, Tensor? Gradient) InPieces(
        FrozenLinear head, Tensor hidden, Tensor targets, Tensor weights, bool isTracked, Workspace workspace)
    {
        var rows = hidden.shape[0];
        var logits = workspace.Scratch(Math.Min(rows, Math.Max(LeastRows, LogitsPerPiece / head.OutWidth)), head.OutWidth);
        var kernels = StepKernels.For(hidden.device, hidden.dtype);
        var (losses, factors) = (empty([rows], hidden.dtype, hidden.device), empty([rows], hidden.dtype, hidden.device));
        var gradient = isTracked ? empty_like(hidden) : null;
        for (var first = 0L; first < rows; first += logits.shape[0])
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(logits.shape[0], rows - first);
            var part = logits.narrow(0, 0, count);
            head.MultiplyInto(part, hidden.narrow(0, first, count));
            if (head.Bias is not null) part.add_(head.Bias, Living.One);
            kernels.CrossEntropy(part, targets.narrow(0, first, count), losses.narrow(0, first, count), factors.narrow(0, first, count));
            if (gradient is not null) head.MultiplyBackInto(gradient.narrow(0, first, count), part, keeps: false);
        }

        return (losses, gradient?.mul_(factors.mul_(weights).unsqueeze(1)));
    }

    private static Tensor ByMember(Tensor losses, Packing packing)
    {
        var (sums, offset) = (new List<Tensor>(), 0L);
        foreach (var count in packing.LossCounts)
        {
            sums.Add(losses.narrow(0, offset, count).sum());
            offset += count;
        }

        return stack(sums).to(ScalarType.Float32);
    }
}

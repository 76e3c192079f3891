using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
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
    /// <returns>float32 <c>[G]</c>: each member's loss, on the device.</returns>
    public static Tensor Gradients(CausalLanguageModel model, Packing packing, StackSlice adapters, Workspace workspace, bool checkpoints = false)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        workspace.Reset();
        using var tape = new Tape(workspace);
        var pass = new TapedPass(model, tape, workspace, packing, adapters, checkpoints);
        var hidden = model.FinalNorm(pass.Rows(model.BeforeFinalNorm(pass), packing.LossRows), pass);
        var weights = tensor(packing.LossCounts.SelectMany(static count => Enumerable.Repeat(1.0 / count, count)).ToArray(), hidden.dtype, hidden.device);
        Tensor losses;
        if (adapters.IsAdapted(model.LmHead.Module))
        {
            losses = pass.AdaptedHead(model, hidden);
            tape.Backward(losses, weights);
        }
        else
        {
            (losses, var gradient) = InPieces(model, hidden, packing.Targets, weights, tape.Tracks(hidden), workspace);
            if (gradient is not null) tape.Backward(hidden, gradient);
        }

        return ByMember(losses.mul(weights), packing).MoveToOuterDisposeScope();
    }

    // The gradient of row i is w_i (softmax(logits_i) - onehot(target_i)) W.
    private static (Tensor Losses, Tensor? Gradient) InPieces(CausalLanguageModel model, Tensor hidden, Tensor targets, Tensor weights, bool isTracked, Workspace workspace)
    {
        var weight = model.WeightOf(model.LmHead).to(hidden.dtype);
        var bias = model.BiasOf(model.LmHead);
        var (rows, vocabulary) = (hidden.shape[0], weight.shape[0]);
        var logits = workspace.Scratch(Math.Min(rows, Math.Max(LeastRows, LogitsPerPiece / vocabulary)), vocabulary);
        var kernels = StepKernels.For(hidden.device, hidden.dtype);
        var (losses, factors) = (empty([rows], hidden.dtype, hidden.device), empty([rows], hidden.dtype, hidden.device));
        var gradient = isTracked ? empty_like(hidden) : null;
        for (var first = 0L; first < rows; first += logits.shape[0])
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(logits.shape[0], rows - first);
            var part = logits.narrow(0, 0, count).addmm_(hidden.narrow(0, first, count), weight.t(), 0, 1);
            if (bias is not null) part.add_(bias);
            kernels.CrossEntropy(part, targets.narrow(0, first, count), losses.narrow(0, first, count), factors.narrow(0, first, count));
            gradient?.narrow(0, first, count).addmm_(part, weight, 0, 1);
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

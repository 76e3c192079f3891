using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>
/// What a training step computes beside its matrix products, one row after the other: no result depends on which rows lie beside it.
/// Tensors are <c>[rows, width]</c> and contiguous, results are written where the caller says. NaN and infinity go through.
/// </summary>
internal interface IStepKernels
{
    /// <summary>What the engine's fingerprint says of them. Another number for other bits of a step, its optimizer's included.</summary>
    string Mark { get; }

    /// <summary>Attention and its backward pass; null where libtorch's autograd computes them.</summary>
    HostAttention? Attention { get; }

    /// <summary>y = x r factor, r = 1 / sqrt(mean(x^2) + epsilon).</summary>
    /// <param name="x"><c>[rows, D]</c>.</param>
    /// <param name="factor"><c>[D]</c>.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="inverse">Receives r, <c>[rows, 1]</c>.</param>
    /// <param name="y">Receives the result.</param>
    void RmsNorm(Tensor x, Tensor factor, double epsilon, Tensor inverse, Tensor y);

    /// <summary>Adds the gradient of <see cref="RmsNorm"/> at x: r (factor dy) - x r^3 mean(x factor dy).</summary>
    /// <param name="x">As given.</param>
    /// <param name="factor">As given.</param>
    /// <param name="inverse">As received.</param>
    /// <param name="gradient">dy.</param>
    /// <param name="sum">What is already there; null for nothing.</param>
    /// <param name="result">Receives the sum; may be <paramref name="sum"/>.</param>
    void RmsNormBackward(Tensor x, Tensor factor, Tensor inverse, Tensor gradient, Tensor? sum, Tensor result);

    /// <summary>y = silu(gate) up.</summary>
    void Gate(Tensor gate, Tensor up, Tensor y);

    /// <summary>The gradients of <see cref="Gate"/>.</summary>
    /// <param name="gate">As given.</param>
    /// <param name="up">As given.</param>
    /// <param name="gradient">dy.</param>
    /// <param name="gateGradient">Receives the gradient at gate.</param>
    /// <param name="upGradient">Receives the gradient at up; may be <paramref name="gradient"/> itself.</param>
    void GateBackward(Tensor gate, Tensor up, Tensor gradient, Tensor gateGradient, Tensor upGradient);

    /// <summary>
    /// Turns the first dimensions of each attention head in place, in the half-split layout of <see cref="Models.Blocks.Rotate"/>:
    /// (a, b) -> (a cos - b sin, b cos + a sin).
    /// </summary>
    /// <param name="x"><c>[rows, heads headDim]</c>.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="cos">A row's cosines, <c>[rows, half]</c>.</param>
    /// <param name="sin">As <paramref name="cos"/>.</param>
    /// <param name="isBack">Turns the other way, as the gradient does.</param>
    void Turn(Tensor x, int heads, Tensor cos, Tensor sin, bool isBack);

    /// <summary>Cross-entropy of each row, and in place of its logits what their gradient is a multiple of.</summary>
    /// <param name="logits"><c>[rows, V]</c>; receives c (softmax(logits) - onehot(target)), c of each row its own.</param>
    /// <param name="targets">int64 <c>[rows]</c>.</param>
    /// <param name="losses">Receives -log p(target), <c>[rows]</c>; finite even where p underflows.</param>
    /// <param name="factors">Receives 1 / c, <c>[rows]</c>.</param>
    void CrossEntropy(Tensor logits, Tensor targets, Tensor losses, Tensor factors);

    /// <summary>A step of AdamW; learning rate, bias corrections and clipping are each member's own.</summary>
    /// <param name="value"><c>[members, P]</c>, as the three that follow.</param>
    /// <param name="gradient">Before clipping; is clipped in place.</param>
    /// <param name="mean">First moment.</param>
    /// <param name="square">Second moment.</param>
    /// <param name="step">Numbers of the step.</param>
    void AdamW(Tensor value, Tensor gradient, Tensor mean, Tensor square, AdamWStep step);
}

/// <summary>Numbers of a step of AdamW.</summary>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Beside the root of the second moment.</param>
/// <param name="Lengths">Each member's learning rate over its first bias correction, negative.</param>
/// <param name="Roots">Root of each member's second bias correction.</param>
/// <param name="Kept">What each member's weight decay leaves of a value; null without decay.</param>
/// <param name="Clipping">Times each member's gradient, <c>[members, 1]</c>, on the device; null without clipping.</param>
internal sealed record AdamWStep(
    double Beta1, double Beta2, double Epsilon, double[] Lengths, double[] Roots, double[]? Kept, Tensor? Clipping);

/// <summary>Who computes what.</summary>
internal static class StepKernels
{
    private static readonly LibtorchKernels Libtorch = new();
    private static readonly IStepKernels? Host = HostKernels.Best();

    /// <summary>Ours for float32 in the host's memory, libtorch's for everything else.</summary>
    public static IStepKernels For(Device device, ScalarType dtype) =>
        device.type == DeviceType.CPU && dtype == ScalarType.Float32 && Host is not null ? Host : Libtorch;
}

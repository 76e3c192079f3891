using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// A frozen linear layer. Whoever multiplies with its weight does so here, so that nobody else knows how the weight is stored.
/// </summary>
/// <param name="shape">Its name, widths and how its weight is stored.</param>
/// <param name="weight"><c>[OutWidth, InWidth]</c>, or turned as the kind says; stored in any float type.</param>
/// <param name="bias"><c>[OutWidth]</c>; null where it has none.</param>
internal sealed class FrozenLinear(LinearShape shape, Tensor weight, Tensor? bias)
{
    /// <summary>Its name in the model.</summary>
    public string Module => shape.Module;

    /// <summary>Size of its output.</summary>
    public int OutWidth => shape.OutWidth;

    /// <summary><c>[OutWidth]</c>; null where it has none.</summary>
    public Tensor? Bias => bias;

    /// <summary>x W^T + b, which libtorch's autograd can record.</summary>
    /// <param name="x"><c>[.., InWidth]</c>.</param>
    /// <returns><c>[.., OutWidth]</c> in the type of <paramref name="x"/>.</returns>
    public Tensor Multiply(Tensor x) => nn.functional.linear(x, Down(x.dtype).t(), bias?.to(x.dtype));

    /// <summary>target = x W^T, without the bias.</summary>
    /// <param name="target"><c>[M, OutWidth]</c>.</param>
    /// <param name="x"><c>[M, InWidth]</c>.</param>
    public void MultiplyInto(Tensor target, Tensor x) => target.addmm_(x, Down(x.dtype), 0, 1);

    /// <summary>target = gradient W, or plus that: the way back through <see cref="MultiplyInto"/>.</summary>
    /// <param name="target"><c>[M, InWidth]</c>.</param>
    /// <param name="gradient"><c>[M, OutWidth]</c>.</param>
    /// <param name="keeps">Adds to what is there.</param>
    public void MultiplyBackInto(Tensor target, Tensor gradient, bool keeps) =>
        target.addmm_(gradient, Down(gradient.dtype).t(), keeps ? 1 : 0, 1);

    /// <summary>The weight, an output after the other: <c>[OutWidth, InWidth]</c>.</summary>
    public Tensor Rows(ScalarType dtype) => Down(dtype).t();

    /// <summary>The same layer for many products in one type.</summary>
    public FrozenLinear In(ScalarType dtype) => weight.dtype == dtype ? this : new(shape, weight.to(dtype), bias?.to(dtype));

    // [InWidth, OutWidth]: a view where the weight is stored in the type.
    private Tensor Down(ScalarType dtype)
    {
        var stored = weight.dtype == dtype ? weight : weight.to(dtype);
        return shape.Kind is LayerKind.Linear or LayerKind.LmHead ? stored.t() : stored;
    }
}

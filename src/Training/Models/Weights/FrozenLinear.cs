using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A frozen linear layer. Whoever multiplies with its weight does so here, so that nobody else knows how the weight is stored.
/// </summary>
/// <param name="shape">Its name, widths and how its weight is turned.</param>
/// <param name="weight"><c>[OutWidth, InWidth]</c>, or turned as the kind says.</param>
/// <param name="bias"><c>[OutWidth]</c>; null where it has none.</param>
internal sealed class FrozenLinear(LinearShape shape, FrozenMatrix weight, Tensor? bias)
{
    private readonly bool _isTurned = shape.Kind == LayerKind.Embedding || (shape.Kind == LayerKind.Conv1D && !weight.IsTransposed);

    /// <summary>A layer whose weight is a tensor of floats.</summary>
    public FrozenLinear(LinearShape shape, Tensor weight, Tensor? bias)
        : this(shape, new FloatMatrix(weight), bias)
    {
    }

    /// <summary>Its name in the model.</summary>
    public string Module => shape.Module;

    /// <summary>What both sides of a product that is not recorded are rounded to; null for the input's type.</summary>
    public ScalarType? Compute { get; private init; }

    /// <summary>Size of its output.</summary>
    public int OutWidth => shape.OutWidth;

    /// <summary><c>[OutWidth]</c>; null where it has none.</summary>
    public Tensor? Bias => bias;

    /// <summary>x W^T + b, which libtorch's autograd can record.</summary>
    /// <param name="x"><c>[.., InWidth]</c>.</param>
    /// <returns><c>[.., OutWidth]</c> in the type of <paramref name="x"/>.</returns>
    public Tensor Multiply(Tensor x)
    {
        if (weight is FloatMatrix || x.dtype != weight.Dtype || (is_grad_enabled() && x.requires_grad))
            return nn.functional.linear(x, Rows(x.dtype), bias?.to(x.dtype));
        using var scope = NewDisposeScope();
        var rows = x.reshape(-1, x.shape[^1]);
        var y = empty([rows.shape[0], OutWidth], x.dtype, x.device);
        MultiplyInto(y, rows);
        if (bias is not null) y.add_(bias, Living.One);
        return y.view([.. x.shape[..^1], OutWidth]).MoveToOuterDisposeScope();
    }

    /// <summary>target = x W^T, without the bias.</summary>
    /// <param name="target"><c>[M, OutWidth]</c>.</param>
    /// <param name="x"><c>[M, InWidth]</c>.</param>
    public void MultiplyInto(Tensor target, Tensor x)
    {
        var dtype = Compute ?? x.dtype;
        if (_isTurned) weight.Times(target, x, keeps: false, dtype);
        else weight.TimesTransposed(target, x, keeps: false, dtype);
    }

    /// <summary>target = gradient W, or plus that: the way back through <see cref="MultiplyInto"/>.</summary>
    /// <param name="target"><c>[M, InWidth]</c>.</param>
    /// <param name="gradient"><c>[M, OutWidth]</c>.</param>
    /// <param name="keeps">Adds to what is there.</param>
    public void MultiplyBackInto(Tensor target, Tensor gradient, bool keeps)
    {
        var dtype = Compute ?? gradient.dtype;
        if (_isTurned) weight.TimesTransposed(target, gradient, keeps, dtype);
        else weight.Times(target, gradient, keeps, dtype);
    }

    /// <summary>The weight, an output after the other: <c>[OutWidth, InWidth]</c>.</summary>
    public Tensor Rows(ScalarType dtype) => _isTurned ? weight.Whole(dtype).t() : weight.Whole(dtype);

    /// <summary>The same layer with products in another type.</summary>
    public FrozenLinear Computing(ScalarType? compute) => compute == Compute ? this : new(shape, weight, bias) { Compute = compute };

    /// <summary>The same layer for many products: where its floats are of another type than the products, in that type.</summary>
    public FrozenLinear In(ScalarType dtype) => weight is FloatMatrix { Values: var values } && values.dtype != (Compute ?? dtype)
        ? new(shape, new FloatMatrix(values.to(Compute ?? dtype)), bias?.to(dtype)) { Compute = Compute }
        : this;
}

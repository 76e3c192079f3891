using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// DoRA (arXiv 2402.09353) around a low rank: y = m / ||W0 + dW|| * (W0 x + dW x) + b, the norm over each output row, without a
/// gradient. W0 x is what the frozen layer gave, so dropout of the low rank's input does not reach it.
/// </summary>
/// <param name="low">Computes y + dW x and dW.</param>
/// <param name="layer">The adapted layer.</param>
/// <param name="magnitude">m, <c>[D_out]</c>, float32.</param>
/// <param name="weight">The frozen weight, stored as the layer's kind says.</param>
/// <param name="bias"><c>[D_out]</c>; null where the layer has none.</param>
internal sealed class DecomposedLayer(LowRankLayer low, LinearShape layer, Tensor magnitude, Tensor weight, Tensor? bias) : IAdaptedLayer
{
    public Tensor Forward(Tensor x, Tensor y, LayerMasks? masks)
    {
        var direction = low.Forward(x, (bias is null ? y : y - bias).to(magnitude.dtype), masks);
        var result = direction * (magnitude / CurrentNorms());
        return (bias is null ? result : result + bias).to(y.dtype);
    }

    public double SquaredProductNorm() => low.SquaredProductNorm();

    /// <summary>The weight as <c>[D_out, D_in]</c> in float32.</summary>
    public static Tensor Rows(Tensor weight, LinearShape layer) =>
        (layer.Kind is LayerKind.Linear or LayerKind.LmHead ? weight : weight.t()).to(ScalarType.Float32);

    /// <summary>The weight that computes the same by itself.</summary>
    /// <param name="moved">W0 + dW, <c>[D_out, D_in]</c>.</param>
    /// <param name="magnitude">m.</param>
    public static Tensor Merged(Tensor moved, Tensor magnitude) => moved * (magnitude / Norms(moved)).unsqueeze(1);

    /// <summary>The norm of each row.</summary>
    public static Tensor Norms(Tensor rows) => rows.square().sum([1]).sqrt();

    private Tensor CurrentNorms()
    {
        using var inference = no_grad();
        return Norms(Rows(weight, layer) + low.Delta());
    }
}

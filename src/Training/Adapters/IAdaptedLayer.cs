using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>The adapter of one layer.</summary>
internal interface IAdaptedLayer
{
    /// <summary>Adds the adapter's part to the output of the frozen layer.</summary>
    /// <param name="x"><c>[.., D_in]</c>; token ids, int64 of any shape, where the layer is an embedding.</param>
    /// <param name="y"><c>[.., D_out]</c>.</param>
    /// <param name="masks">Draws the dropout masks; null evaluates.</param>
    Tensor Forward(Tensor x, Tensor y, LayerMasks? masks);

    /// <summary>Squared Frobenius norm of what the low rank has changed, s (B A - B^0 A^0) with the heads mixed, a router counting as uniform.</summary>
    double SquaredProductNorm();
}

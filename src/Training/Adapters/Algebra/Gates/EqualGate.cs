using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>All heads count by one number: 1 for their sum, 1/N for their mean.</summary>
internal sealed class EqualGate(int heads, double weight) : IGate
{
    public double? Weight => weight;

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
    {
        var any = z.First;
        return full([1, 1, heads], Living.Of(weight), any.dtype, any.device);
    }
}

using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>
/// Softmax over a linear router of the input, for each token (HydraLoRA, arXiv 2404.19245; R-LoRA, arXiv 2502.15455). The router sees the
/// whole input.
/// </summary>
internal sealed class SoftmaxGate(int heads) : IGate
{
    public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => [(Routing.Softmax.Router, [heads, target.InWidth])];

    public IEnumerable<Slot> Slots(LayerTensors tensors) =>
        [new(Routing.Softmax.Router, tensors[Routing.Softmax.Router], IsContent: false)];

    public double? Weight => null;

    public bool IsStatic => false;

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
    {
        var logits = z[Routing.Softmax.Router].squeeze(2);
        return context.IsUniform ? full_like(logits, Living.Of(1.0 / heads)) : logits.softmax(-1);
    }
}

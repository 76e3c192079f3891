using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>Softmax over a number for each head, the same for every token (MTL-LoRA, arXiv 2410.09437).</summary>
internal sealed class TaskSoftmaxGate(int heads, double tau) : IGate
{
    public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => [(Routing.TaskSoftmax.Weights, [heads])];

    public double? Weight => null;

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context) =>
        tensors[Routing.TaskSoftmax.Weights].div(Living.Of(tau)).softmax(-1).unsqueeze(1);
}

using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>What decides how heads are mixed.</summary>
internal interface IGate
{
    /// <summary>Its tensors on a layer, without members.</summary>
    IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => [];

    /// <summary>Rows of its own that the input is multiplied with.</summary>
    IEnumerable<Slot> Slots(LayerTensors tensors) => [];

    /// <summary>The weight of every head, where it is the same number for all of them, always; else null.</summary>
    double? Weight { get; }

    /// <summary>Whether the weights are the same for every token.</summary>
    bool IsStatic => true;

    /// <summary>The weight of each head: <c>[G, 1 or m, N]</c>.</summary>
    Tensor Weights(LayerTensors tensors, Narrow z, MixContext context);
}

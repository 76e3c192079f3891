using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>What decides how heads, or the rows of one low rank, are mixed.</summary>
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

    /// <summary>It weighs the rows of A, of which there is one, and not heads.</summary>
    bool WeighsRows => false;

    /// <inheritdoc cref="AdapterMethod.SeesSequences"/>
    bool SeesSequences => false;

    /// <summary>What came down, at the places where it goes up; everything stays where it is unless a gate moves it.</summary>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="down"><c>[G, m, 1 or N, R]</c>.</param>
    /// <param name="z">What came down by its own rows.</param>
    /// <param name="context">What there is beside numbers.</param>
    Tensor Placed(LayerTensors tensors, Tensor down, Narrow z, MixContext context) => down;

    /// <summary>The weight of each head: <c>[G, 1 or m, N]</c>; of each row of A, <c>[G, 1 or m, R]</c>, where it weighs those.</summary>
    Tensor Weights(LayerTensors tensors, Narrow z, MixContext context);

    /// <inheritdoc cref="AdapterMethod.MovedByCounts"/>
    Tensor MovedByCounts(string role, Tensor value, Tensor counts) =>
        throw new NotSupportedException($"{GetType().Name} has no {role} that moves by counts.");
}

using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// DoRA (arXiv 2402.09353) around a static method: y = m / ||W0 + dW|| * (W0 x + dW x) + b, the norm over each output row and without a
/// gradient. W0 x is what the frozen layer gave, so dropout does not reach it.
/// </summary>
internal sealed class Decomposed(AdapterMethod inner) : AdapterMethod
{
    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
        [.. inner.Shapes(target), (Decomposition.Magnitude, [target.OutWidth])];

    public override Factors Factors(LayerTensors tensors) => inner.Factors(tensors);

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context) => inner.Mix(tensors, z, context);

    public override bool IsPlain => inner.IsPlain;

    public override bool IsFixed => inner.IsFixed;

    public override bool IsStatic => inner.IsStatic;

    public override bool SeesSequences => inner.SeesSequences;

    public override Tensor MovedByCounts(string role, Tensor value, Tensor counts) => inner.MovedByCounts(role, value, counts);

    public override bool IsScaledAlike => inner.IsScaledAlike;

    public override bool HasColumns => true;

    public override Tensor Columns(LayerTensors tensors, Tensor norms) => tensors[Decomposition.Magnitude] / norms;

    public override Tensor FromWeight(string role, Tensor weight) => Norms(weight);

    /// <summary>The norm of each row.</summary>
    public static Tensor Norms(Tensor rows) => rows.Squared().sum([-1]).sqrt();
}

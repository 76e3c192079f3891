using System.Numerics.Tensors;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>
/// FedAvgM: v = beta v + D, x = x + eta v, v from 0 (Hsu et al., arXiv 1909.06335; Reddi et al., arXiv 2003.00295). Flower's is the same.
/// </summary>
internal sealed class Momentum(ServerOptimizerSpec spec) : RememberingOptimizer(spec, ("v", 0))
{
    private readonly double _kept = spec.Momentum ?? ServerOptimizerSpec.DefaultMomentum;

    protected override void Step(Blocks block, int step)
    {
        var x = block[0];
        var aggregate = block[1];
        var v = block[2];
        // Multiplied and added one after the other here and below, not fused: the same bits on every processor.
        TensorPrimitives.MultiplyAdd(v, _kept, aggregate, v);
        TensorPrimitives.MultiplyAdd(v, Rate, x, x);
    }
}

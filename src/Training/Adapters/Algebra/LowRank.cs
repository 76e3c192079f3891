using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra.Gates;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// One down-projection, heads, and a gate that mixes them: s sum_i g_i(x) B_i D_i(A x). LoRA (arXiv 2106.09685) has one head.
/// </summary>
internal sealed class LowRank(int heads, IGate gate) : AdapterMethod
{
    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) =>
    [
        (LowRankFactors.A, [target.Rank, target.InWidth]), (LowRankFactors.B, [heads, target.OutWidth, target.Rank]),
        .. gate.Shapes(target),
    ];

    public override Factors Factors(LayerTensors tensors) =>
        new([new(LowRankFactors.A, tensors[LowRankFactors.A], IsDropped: true), .. gate.Slots(tensors)], [tensors[LowRankFactors.B]]);

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
    {
        var down = context.Drop(z[LowRankFactors.A]); // [G, m, 1 or N, R]: one A, a mask for each head
        if (gate.Weight is { } weight) return down.mul(Living.Of(weight * context.Scaling)).expand(-1, -1, heads, -1).flatten(2);
        var weights = context.Common("gate", () => gate.Weights(tensors, z, context).mul(Living.Of(context.Scaling)).unsqueeze(-1));
        return (down * weights).flatten(2);
    }

    public override bool IsPlain => heads == 1 && gate.Weight is 1;

    public override bool IsFixed => gate.Weight is not null;

    public override bool IsStatic => gate.IsStatic;
}

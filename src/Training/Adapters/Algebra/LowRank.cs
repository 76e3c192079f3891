using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra.Gates;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>What a low rank is put together from beside its gate.</summary>
/// <param name="Heads">N.</param>
/// <param name="Downs">One down-projection, or one for each head.</param>
/// <param name="Core">Between A and the heads.</param>
/// <param name="Scale">What heads are multiplied with.</param>
/// <param name="IsMasked">Heads are multiplied with their mask.</param>
internal sealed record LowRankForm(int Heads, Downs Downs, Core Core, HeadScaleForm Scale, bool IsMasked)
{
    public static LowRankForm Of(AdapterSpec spec) => new(spec.Heads, spec.Downs, spec.Core, spec.HeadScale, spec.IsMasked);
}

/// <summary>
/// Down-projections, a core, heads, and a gate that mixes them: s sum_i g_i(x) c_i (M_i B_i) Lambda_i D_i(A_i x). LoRA (arXiv 2106.09685)
/// has one head, and nothing else.
/// </summary>
internal sealed class LowRank(LowRankForm form, IGate gate) : AdapterMethod
{
    private readonly int _heads = form.Heads;

    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target)
    {
        var (cores, rows) = (form.Core.PerHead ? _heads : 1, form.Core.Rank ?? target.Rank);
        yield return (LowRankFactors.A, [(form.Downs == Downs.PerHead ? _heads : 1) * target.Rank, target.InWidth]);
        yield return (LowRankFactors.B, [_heads, target.OutWidth, rows]);
        if (form.Core.Form == CoreForm.Diagonal) yield return (Core.Role, [cores, target.Rank]);
        if (form.Core.Form == CoreForm.Full) yield return (Core.Role, [cores, rows, target.Rank]);
        if (form.Scale == HeadScaleForm.Scalar) yield return (HeadScale.Role, [_heads]);
        if (form.Scale == HeadScaleForm.PerOutput) yield return (HeadScale.Role, [_heads, target.OutWidth]);
        if (form.IsMasked) yield return (HeadMask.Role, [_heads, target.OutWidth, rows]);
        foreach (var own in gate.Shapes(target)) yield return own;
    }

    public override Factors Factors(LayerTensors tensors)
    {
        var heads = tensors[LowRankFactors.B];
        if (form.IsMasked) heads = heads * tensors[HeadMask.Role];
        if (form.Scale == HeadScaleForm.PerOutput) heads = heads * tensors[HeadScale.Role].unsqueeze(-1);
        return new([new(LowRankFactors.A, tensors[LowRankFactors.A], IsDropped: true), .. gate.Slots(tensors)], [heads]);
    }

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
    {
        var down = context.Drop(z[LowRankFactors.A]); // [G, m, 1 or N, R]: one A, a mask for each head; or the rows of all heads
        if (form.Downs == Downs.PerHead) down = ByHead(down);
        if (form.Core.Form != CoreForm.None) down = Turned(down, tensors[Core.Role]);
        if (form.Scale == HeadScaleForm.Scalar) down = down * tensors[HeadScale.Role].view(-1, 1, _heads, 1);
        if (gate.Weight is { } weight) return down.mul(Living.Of(weight * context.Scaling)).expand(-1, -1, _heads, -1).flatten(2);
        down = gate.Placed(tensors, down, z, context);
        var weights = context.Common("gate", () => gate.Weights(tensors, z, context).mul(Living.Of(context.Scaling))
            .unsqueeze(gate.WeighsRows ? 2 : -1));
        return (down * weights).flatten(2);
    }

    public override bool IsPlain => _heads == 1 && gate.Weight is 1 && HasNothingBetween;

    public override bool IsFixed => gate.Weight is not null && HasNothingBetween;

    public override bool IsStatic => gate.IsStatic;

    public override bool SeesSequences => gate.SeesSequences;

    public override Tensor MovedByCounts(string role, Tensor value, Tensor counts) => gate.MovedByCounts(role, value, counts);

    // Between what came down and what goes up there is nothing of its own.
    private bool HasNothingBetween => form.Core.Form == CoreForm.None && form.Scale != HeadScaleForm.Scalar;

    // [G, m, 1 or N masks, N R] to [G, m, N, R]: of each head its own rows, under its own mask.
    private Tensor ByHead(Tensor down)
    {
        var (masks, rank) = (down.shape[2], down.shape[3] / _heads);
        var byHead = down.reshape(down.shape[0], down.shape[1], masks, _heads, rank);
        return masks == 1 ? byHead.select(2, 0) : byHead.diagonal(0, 2, 3).transpose(2, 3);
    }

    // Lambda z, for what all heads have in common once: [G, m, 1 or N, R] to [G, m, 1 or N, K].
    private Tensor Turned(Tensor down, Tensor core)
    {
        var members = Math.Max(down.shape[0], core.shape[0]);
        if (form.Core.Form == CoreForm.Diagonal) return down * core.unsqueeze(1);
        var (rows, count) = (down.shape[1], Math.Max(down.shape[2], core.shape[1]));
        var (rank, turned) = (core.shape[3], core.shape[2]);
        if (core.shape[1] == 1)
        {
            return down.expand(members, -1, -1, -1).reshape(members, -1, rank)
                .bmm(core.select(1, 0).expand(members, -1, -1).transpose(1, 2)).view(members, rows, -1, turned);
        }

        var byHead = down.expand(members, -1, count, -1).transpose(1, 2).reshape(-1, rows, rank);
        return byHead.bmm(core.expand(members, -1, -1, -1).reshape(-1, turned, rank).transpose(1, 2))
            .view(members, count, rows, turned).transpose(1, 2);
    }
}

using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>
/// Pools of R rank-1 factors, of which each sequence uses K pairs (conditional mixture of LoRA, arXiv 2402.15896): with h the mean of the
/// layer's inputs over the sequence, I are the K largest of R_A h, and slot i pairs the factor a of place I_i with the factor b of place
/// J_i, u_{J_i} = w_i z_{I_i}. J are the same places, the K largest of R_B h, or those of softmax(R_B h) + lambda softmax(sum_i softmax(Q_i
/// a_{I_i})): the inner product of the paper, where the released code multiplies the sum of a by the row sums of Q.
/// </summary>
/// <remarks>
/// Weighted, w_i is K times the share of I_i in the scores of I, times the same of J; places that are shared are chosen once and weigh
/// once. Not weighted, w_i is 1, as published, and no router has a gradient.
/// </remarks>
internal class PoolGate(Routing.Pool pool) : IGate
{
    private const string RouterA = Routing.Pool.RouterA;
    private const string RouterB = Routing.Pool.RouterB;
    private const string RouterQ = Routing.Pool.RouterQ;

    private bool IsShared => pool.Choice == PoolChoice.SharedIndex;

    public IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target)
    {
        yield return (RouterA, [target.Rank, target.InWidth]);
        if (!IsShared) yield return (RouterB, [target.Rank, target.InWidth]);
        if (pool.Choice == PoolChoice.Conditional) yield return (RouterQ, [pool.K, target.Rank, target.InWidth]);
    }

    public IEnumerable<Slot> Slots(LayerTensors tensors)
    {
        yield return new(RouterA, tensors[RouterA], IsContent: false);
        if (!IsShared) yield return new(RouterB, tensors[RouterB], IsContent: false);
    }

    public double? Weight => null;

    public bool IsStatic => false;

    public bool WeighsRows => true;

    public bool SeesSequences => true;

    /// <summary>What chosen factors of A gave, at the places of their partners; the nearest static form pairs all with all.</summary>
    public Tensor Placed(LayerTensors tensors, Tensor down, Narrow z, MixContext context)
    {
        var factors = down.shape[^1];
        if (context.IsUniform) return IsShared ? down : down.mean([-1], keepdim: true).expand(down.shape);
        var (a, b) = Chosen(tensors, z, context);
        Tensor ByRow(Tensor chosen) => OfRows(chosen, context.Rows).unsqueeze(2).expand(-1, -1, down.shape[2], -1);
        return Choice.Scattered(ByRow(b), down.gather(-1, ByRow(a)), factors);
    }

    public Tensor Weights(LayerTensors tensors, Narrow z, MixContext context)
    {
        var logits = z[RouterA].squeeze(2); // [G, m, R]
        var factors = logits.shape[^1];
        if (context.IsUniform) return full([1, 1, factors], Living.Of((double)pool.K / factors), logits.dtype, logits.device);
        var (a, b) = Chosen(tensors, z, context);
        if (!pool.Weighted) return Choice.Marked(OfRows(b, context.Rows), factors, logits.dtype);
        var means = context.Rows.Means(logits.dtype, logits.device);
        var weights = SharesOfSoftmax(means.bmm(logits), a);
        if (!IsShared)
        {
            var ofB = means.bmm(z[RouterB].squeeze(2));
            weights = weights * (pool.Choice == PoolChoice.Independent
                ? SharesOfSoftmax(ofB, b) : Shares(ScoresOfB(tensors, ofB, a), b));
        }

        return Choice.Scattered(OfRows(b, context.Rows), OfRows(weights, context.Rows), factors);
    }

    /// <summary>The chosen places on both sides by sequence, in the order of slots: int64 <c>[G, S, K]</c> each.</summary>
    protected virtual (Tensor A, Tensor B) Choose(LayerTensors tensors, Narrow z, MixContext context)
    {
        using var inference = no_grad();
        Tensor Means(string router)
        {
            var logits = context.Exact(router, z);
            return context.Rows.Means(logits.dtype, logits.device).bmm(logits);
        }

        var a = Choice.Largest(Means(RouterA), pool.K);
        return (a, IsShared ? a : Choice.Largest(ScoresOfB(tensors, Means(RouterB), a), pool.K));
    }

    private (Tensor A, Tensor B) Chosen(LayerTensors tensors, Narrow z, MixContext context)
    {
        var both = context.Common("chosen", () =>
        {
            var (a, b) = Choose(tensors, z, context);
            return stack([a, b]);
        });
        return (both[0], both[1]);
    }

    // softmax(R_B h) and what the chosen factors of A say: [G, S, R].
    private Tensor ScoresOfB(LayerTensors tensors, Tensor logits, Tensor chosen)
    {
        var scores = logits.softmax(-1);
        if (pool.Choice != PoolChoice.Conditional) return scores;
        var (a, q) = (tensors[LowRankFactors.A].to(logits.dtype), tensors[RouterQ].to(logits.dtype)); // [G, R, D], [G, K, R, D]
        var (members, factors) = (logits.shape[0], a.shape[1]);
        var width = a.shape[2];
        var said = q.reshape(-1, pool.K * factors, width).expand(members, -1, -1).bmm(a.transpose(1, 2).expand(members, -1, -1))
            .view(-1, factors, factors).transpose(1, 2).softmax(-1); // of each factor of A, [G K, R, R]
        // Which factor each slot has, [G K, S, R].
        var marks = Choice.Marked(chosen.unsqueeze(-1), factors, logits.dtype).transpose(1, 2).reshape(members * pool.K, -1, factors);
        var sum = marks.bmm(said).view(members, pool.K, -1, factors).sum([1]);
        return scores.Plus(sum.softmax(-1).mul(Living.Of(pool.Lambda)));
    }

    // K times the share of the chosen in what they have together: [G, S, K].
    private Tensor Shares(Tensor scores, Tensor chosen)
    {
        var kept = scores.gather(-1, chosen);
        return kept.mul(Living.Of(pool.K)) / kept.sum(-1, keepdim: true);
    }

    // The same of a softmax, without what cancels: a factor that is not chosen has no gradient, not rounding for one.
    private Tensor SharesOfSoftmax(Tensor logits, Tensor chosen) => logits.gather(-1, chosen).softmax(-1).mul(Living.Of(pool.K));

    // What a sequence has, for each of its rows: [G, m, K].
    private static Tensor OfRows(Tensor ofSequences, MemberRows rows) =>
        ofSequences.gather(1, rows.SequenceOfRows(ofSequences.device).unsqueeze(-1).expand(-1, -1, ofSequences.shape[2]));
}

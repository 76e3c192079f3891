using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// lambda |B[:, gamma r:]| |A[gamma r:, :]|, Frobenius norms, summed over layers (HetLoRA, arXiv 2401.06432): ranks behind a share gamma of
/// a layer's r wither together on both sides. Of several heads, or down-projections, each has its own last ranks, under one norm.
/// </summary>
/// <param name="term">Its values.</param>
/// <param name="stack">The members' tensors.</param>
internal sealed class RankPruneTerm(Objective.RankPrune term, AdapterStack stack) : WeightPenalty(stack)
{
    private readonly int _downs = stack.Layout.Spec.Downs == Downs.PerHead ? stack.Layout.Spec.Heads : 1;

    /// <inheritdoc/>
    public override Tensor? Of(Func<string, bool> has, LayerTensors tensors) =>
        Of(tensors[LowRankFactors.A], tensors[LowRankFactors.B], _downs, term);

    /// <summary>The penalty of a layer for each member.</summary>
    /// <param name="a"><c>[G or 1, downs R, D_in]</c>.</param>
    /// <param name="b"><c>[G or 1, N, D_out, R]</c>.</param>
    /// <param name="downs">Down-projections that lie below each other in A.</param>
    /// <param name="term">The values.</param>
    public static Tensor? Of(Tensor a, Tensor b, int downs, Objective.RankPrune term)
    {
        var byDown = a.view(a.shape[0], downs, -1, a.shape[2]);
        Tensor? Last(Tensor of, int dimension)
        {
            var (ranks, kept) = (of.shape[dimension], (long)Math.Floor(term.Gamma * of.shape[dimension]));
            // The norm of zeros, as heads begin, has the gradient 0.
            return kept >= ranks ? null : of.narrow(dimension, kept, ranks - kept).flatten(1).norm(1);
        }

        return Last(byDown, 2) is { } down && Last(b, 3) is { } up ? (down * up).mul(Living.Of(term.Lambda)) : null;
    }
}

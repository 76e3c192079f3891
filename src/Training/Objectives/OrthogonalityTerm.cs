using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// gamma |A A0^T|^2, Frobenius, summed over layers with two pairs (O-LoRA, arXiv 2310.14152): a task's pair beside the shared one, and the
/// pair that is live beside all merged links. Whatever of the two trains has a gradient.
/// </summary>
/// <param name="gamma">Its weight.</param>
/// <param name="stack">The members' tensors.</param>
internal sealed class OrthogonalityTerm(double gamma, AdapterStack stack) : WeightPenalty(stack)
{
    /// <inheritdoc/>
    public override Tensor? Of(Func<string, bool> has, LayerTensors tensors)
    {
        Tensor? sum = null;
        foreach (var other in (string[])[TaskBranch.A, FrozenLinks.A])
        {
            if (!has(other)) continue;
            var overlap = Overlap(tensors[LowRankFactors.A], tensors[other]);
            sum = sum is null ? overlap : sum.Plus(overlap);
        }

        return sum?.mul(Living.Of(gamma));
    }

    /// <summary>|A A0^T|^2 for each member.</summary>
    /// <param name="a"><c>[G or 1, R, D_in]</c>.</param>
    /// <param name="other"><c>[G or 1, R0, D_in]</c>.</param>
    public static Tensor Overlap(Tensor a, Tensor other)
    {
        var members = Math.Max(a.shape[0], other.shape[0]);
        return a.expand(members, -1, -1).bmm(other.expand(members, -1, -1).transpose(1, 2)).Squared().sum([1, 2]);
    }
}

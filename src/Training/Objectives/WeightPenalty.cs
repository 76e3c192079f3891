using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>A penalty of weights alone, a sum over layers: once a step, by libtorch's autograd.</summary>
/// <param name="stack">The members' tensors.</param>
internal abstract class WeightPenalty(AdapterStack stack) : ObjectiveTerm
{
    /// <summary>A layer's part, for each member; its weight in the objective included.</summary>
    /// <param name="has">Whether the layer has a tensor.</param>
    /// <param name="tensors">Its tensors.</param>
    /// <returns><c>[G]</c>; null for none.</returns>
    public abstract Tensor? Of(Func<string, bool> has, LayerTensors tensors);

    /// <inheritdoc/>
    public sealed override void AddGradients(int members)
    {
        foreach (var target in stack.Layout.Targets)
        {
            using var scope = NewDisposeScope();
            var roles = stack.Layout.RolesOn(target).Select(static role => role.Name).ToHashSet(StringComparer.Ordinal);
            var leaves = new Leaves(role => stack.TensorsOf(target, role, members), isGraph: true);
            Tensor? penalty;
            using (enable_grad()) penalty = Of(roles.Contains, new LayerTensors(role => leaves[role], static _ => null));
            if (penalty is null || !penalty.requires_grad) continue;
            autograd.backward([penalty], [ones_like(penalty)]);
            using var inference = no_grad();
            foreach (var (leaf, of) in leaves.Train)
            {
                if (leaf.grad is { } gradient) of.Gradient!.add_(gradient, Living.One);
            }
        }
    }
}

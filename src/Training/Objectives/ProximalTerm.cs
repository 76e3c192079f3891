using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// mu/2 |w - w0|^2 over the tensors that are aggregated, w0 as the round began with them (FedProx, arXiv 1812.06127): their gradient gets
/// mu (w - w0). What stays with a client is not pulled back.
/// </summary>
internal sealed class ProximalTerm : ObjectiveTerm
{
    private readonly double _mu;
    private readonly List<(StackBlock Block, Tensor Start)> _aggregated;

    /// <param name="mu">Its weight.</param>
    /// <param name="stack">As the round begins.</param>
    public ProximalTerm(double mu, AdapterStack stack)
    {
        using var inference = no_grad();
        (_mu, _aggregated) = (mu, [.. stack.Blocks.Where(static block => block.Policy.IsAggregated)
            .Select(static block => (block, block.Value.clone()))]);
    }

    /// <inheritdoc/>
    public override void AddGradients(int members)
    {
        foreach (var (block, start) in _aggregated)
        {
            using var scope = NewDisposeScope();
            var moved = block.Value.narrow(0, 0, members) - start.narrow(0, 0, members);
            block.Gradient.narrow(0, 0, members).add_(moved, Living.Of(_mu));
        }
    }
}

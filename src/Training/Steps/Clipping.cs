using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>What each member's gradient is multiplied with, so that its joint norm is at most the plan's.</summary>
internal sealed class Clipping
{
    private readonly IReadOnlyList<StackBlock> _stepping;
    private readonly int _members;

    /// <param name="stepping">What steps; at least one.</param>
    /// <param name="members">The first of the stack, which step.</param>
    /// <param name="most">The largest norm; 0 clips nothing.</param>
    /// <param name="norms">Gets the norms before they are clipped, <c>[members]</c>; null where nobody asks.</param>
    public Clipping(IReadOnlyList<StackBlock> stepping, int members, double most, Tensor? norms)
    {
        (_stepping, _members) = (stepping, members);
        if (most <= 0 && norms is null) return;
        var before = Norms();
        norms?.copy_(before);
        if (most > 0) Factors = (Living.Of(most) / before.Plus(Living.Of(1e-6))).clamp_max(Living.Of(1.0)).unsqueeze(1);
    }

    /// <summary><c>[members, 1]</c>; null where nothing is clipped.</summary>
    public Tensor? Factors { get; }

    /// <summary>Clips the gradients in place.</summary>
    public void Apply()
    {
        if (Factors is null) return;
        foreach (var block in _stepping) block.Gradient.narrow(0, 0, _members).mul_(Factors);
    }

    // Each member's over all that steps, [members]; role by role, so that neither owners nor neighbours change the order of a sum.
    private Tensor Norms() => _stepping.Select(block =>
        stack([.. Enumerable.Range(0, _members).Select(member => block.Gradient[member].dot(block.Gradient[member]))]))
        .Aggregate(static (sum, next) => sum.Plus(next)).sqrt();
}

using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// The adapter of one linear layer (METHODS-CORE 7.1 and 1.9): y + s sum_i g_i(x) (B_i D_i(A x) - B_i^0 A^0 x). The heads are one
/// product: their r-wide inputs are laid side by side and so are the heads.
/// </summary>
internal sealed class LowRankLayer : IAdaptedLayer
{
    private readonly AdapterSpec _spec;
    private readonly LinearShape _target;
    private readonly double _scaling;
    private readonly (Tensor A, Tensor B)? _twins;
    private readonly Tensor? _twinA;
    private readonly Tensor? _twinUp;

    /// <summary>A layer over tensors that live in the caller's dispose scope.</summary>
    /// <param name="spec">The method.</param>
    /// <param name="target">The adapted layer.</param>
    /// <param name="a"><c>[R, D_in]</c>, float32.</param>
    /// <param name="b"><c>[N, D_out, R]</c>, float32.</param>
    /// <param name="router"><c>[N, D_in]</c>, float32; null unless the method routes by the input.</param>
    /// <param name="twins">A^0 and B^0 where the start is anchored.</param>
    /// <param name="scaling">s; null for the method's own.</param>
    public LowRankLayer(AdapterSpec spec, LinearShape target, Tensor a, Tensor b, Tensor? router, (Tensor A, Tensor B)? twins, double? scaling = null)
    {
        (_spec, _target, A, B, Router, _scaling) = (spec, target, a, b, router, scaling ?? spec.ScalingFactor);
        _twins = twins;
        if (twins is not { } twin) return;
        _twinA = twin.A;
        _twinUp = spec.IsStatic ? twin.B.sum([0]).neg() : Up(twin.B).neg();
    }

    public Tensor A { get; }

    public Tensor B { get; }

    public Tensor? Router { get; }

    public Tensor Forward(Tensor x, Tensor y, LayerMasks? masks)
    {
        var rows = IsEmbedding ? x.reshape(-1) : x.reshape(-1, _target.InWidth).to(A.dtype);
        var mix = Mix(rows);
        var (down, twin) = Down(rows, masks);
        var inner = Weigh(down, mix);
        var up = Up(B);
        if (twin is not null)
        {
            // The twins of a static mix are summed into one head when the layer is made.
            inner = cat([inner, mix is null ? (twin * Share).squeeze(1) : Weigh(twin, mix)], 1);
            up = cat([up, _twinUp!], 1);
        }

        if (y.dtype != A.dtype) return y + nn.functional.linear(inner, up).to(y.dtype).reshape(y.shape);
        return y.reshape(-1, _target.OutWidth).addmm(inner, up.t(), 1, 1).reshape(y.shape);
    }

    /// <summary>s (B A - B^0 A^0) with the heads mixed, <c>[D_out, D_in]</c>, without a gradient.</summary>
    /// <exception cref="InvalidOperationException">The heads are mixed by the input.</exception>
    public Tensor Delta()
    {
        if (Router is not null) throw new InvalidOperationException($"{_target.Module} has a router, so no one product.");
        var product = Up(B).detach().mm(Inputs(A).detach()) * Share;
        return _twinA is null ? product : product + _twinUp!.mm(_twinA) * Share;
    }

    /// <inheritdoc/>
    /// <remarks>By Gram matrices, so 2r x 2r.</remarks>
    public double SquaredProductNorm()
    {
        var (head, a) = (Mixed(B.detach()), A.detach().to(ScalarType.Float64));
        if (_twins is { } twins) (head, a) = (cat([head, Mixed(twins.B).neg()], 1), cat([a, twins.A.to(ScalarType.Float64)], 0));
        return _scaling * _scaling * (head.t().mm(head) * a.mm(a.t())).sum().cpu().item<double>();
    }

    // [N, D_out, R] -> [D_out, R], in float64.
    private Tensor Mixed(Tensor heads)
    {
        var all = heads.to(ScalarType.Float64);
        return _spec.Routing is Routing.Sum ? all.sum([0]) : all.mean([0]);
    }

    /// <summary>The weight of each head where it does not depend on the input, scaling included.</summary>
    private double Share => _spec.Routing is Routing.Mean ? _scaling / _spec.Heads : _scaling;

    // g_i s as [M, N, 1], or null where it is the same number for every row and head. The router sees the undropped input.
    private Tensor? Mix(Tensor rows) => Router is null
        ? null
        : (nn.functional.linear(rows, Router).softmax(-1) * _scaling).unsqueeze(-1);

    // D_i(A x) as [M, N, R], or [M, 1, R] where all heads see the same; and A^0 x as [M, 1, R], never dropped.
    private (Tensor Down, Tensor? Twin) Down(Tensor rows, LayerMasks? masks)
    {
        // A token id cannot be dropped in part: as in PEFT, an embedding has no dropout on its input.
        var site = masks is null || _spec.Dropout.P == 0 || (IsEmbedding && _spec.Dropout.Site == DropoutSite.Input) ? DropoutSite.None : _spec.Dropout.Site;
        if (site == DropoutSite.Input)
        {
            var dropped = stack([.. masks!.Draw(rows.shape, A.device).Select(mask => nn.functional.linear(rows * mask, A))], 1);
            return (dropped, _twinA is null ? null : nn.functional.linear(rows, _twinA).unsqueeze(1));
        }

        // One product for A and its twin: the wide input is read once.
        var both = Product(rows, _twinA is null ? A : cat([A, _twinA], 0)).unsqueeze(1);
        var rank = A.shape[0];
        var (down, twin) = _twinA is null ? (both, null) : (both.narrow(2, 0, rank), both.narrow(2, rank, rank));
        return (site == DropoutSite.Hidden ? down * stack([.. masks!.Draw([rows.shape[0], rank], A.device)], 1) : down, twin);
    }

    private bool IsEmbedding => _target.Kind == LayerKind.Embedding;

    // The rows of an embedding are ids: a one-hot product picks columns of A.
    private Tensor Product(Tensor rows, Tensor a) => IsEmbedding ? a.t().index_select(0, rows) : nn.functional.linear(rows, a);

    // A under each head of Up.
    private Tensor Inputs(Tensor a) => _spec.Heads > 1 ? a.repeat(_spec.Heads, 1) : a;

    // [M, 1 or N, R] -> [M, N R].
    private Tensor Weigh(Tensor down, Tensor? mix)
    {
        var weighed = mix is null ? (down * Share).expand(-1, _spec.Heads, -1) : down * mix;
        return weighed.reshape(weighed.shape[0], -1);
    }

    // [N, D_out, R] -> [D_out, N R].
    private Tensor Up(Tensor heads) => heads.permute(1, 0, 2).reshape(_target.OutWidth, -1);
}

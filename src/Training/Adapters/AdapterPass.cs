using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// An adapter beside the layers of a model, in operations that libtorch's autograd can record: the frame with one member.
/// </summary>
internal sealed class AdapterPass : ILayerAdapters, IDisposable
{
    private readonly PlacedAdapter _adapter;
    private readonly CausalLanguageModel? _model;
    private readonly Dictionary<string, AdapterTarget> _targets;
    private readonly Dictionary<string, LayerMasks>? _masks;
    private readonly Func<MixTraining>? _asking;
    private readonly Dictionary<string, (FrozenLinear Layer, Tensor Squares)> _frozen = new(StringComparer.Ordinal);

    private readonly Dictionary<string, (IReadOnlyList<Slot> Slots, Tensor Down, Tensor Up)> _sides = new(StringComparer.Ordinal);

    private AdapterPass(
        PlacedAdapter adapter, CausalLanguageModel? model, Dictionary<string, LayerMasks>? masks, Func<MixTraining>? asking = null)
    {
        (_adapter, _model, _masks, _asking) = (adapter, model, masks, asking);
        _targets = adapter.Layout.Targets.ToDictionary(static target => target.Module, StringComparer.Ordinal);
    }

    /// <summary>Without dropout.</summary>
    /// <param name="adapter">The values.</param>
    /// <param name="model">Asked for the weights of a method that looks at them; else not looked at.</param>
    public static AdapterPass Evaluating(PlacedAdapter adapter, CausalLanguageModel? model) => new(adapter, model, null);

    /// <summary>With dropout; the pass is used for all steps of the round in turn.</summary>
    /// <param name="adapter">The values.</param>
    /// <param name="model">As above.</param>
    /// <param name="masks">By module.</param>
    /// <param name="asking">Makes what takes the penalties and counts of a layer; null where nobody asks for them.</param>
    public static AdapterPass Training(
        PlacedAdapter adapter, CausalLanguageModel? model, Dictionary<string, LayerMasks> masks, Func<MixTraining>? asking = null) =>
        new(adapter, model, masks, asking);

    public bool SeesSequences => _adapter.Layout.Method.SeesSequences;

    public Tensor Adapt(string module, Tensor x, Tensor y) =>
        _targets.TryGetValue(module, out var target) ? Adapt(target, x, y, new DenseRows(x.reshape(-1, x.shape[^1]))) : y;

    public Tensor AdaptEmbedding(string module, Tensor ids, Tensor y) =>
        _targets.TryGetValue(module, out var target) ? Adapt(target, ids.unsqueeze(-1), y, new OneHotRows(ids.reshape(-1))) : y;

    public void Dispose()
    {
        foreach (var masks in _masks?.Values ?? Enumerable.Empty<LayerMasks>()) masks.Dispose();
        foreach (var (_, squares) in _frozen.Values) squares.Dispose();
        foreach (var (slots, down, up) in _sides.Values)
        {
            foreach (var slot in slots) slot.Rows.Dispose();
            down.Dispose();
            up.Dispose();
        }
    }

    private Tensor Adapt(AdapterTarget target, Tensor x, Tensor y, IWideRows rows)
    {
        var (method, tensors, spec) = (_adapter.Layout.MethodOf(target), _adapter.Of(target), _adapter.Layout.Spec);
        var masks = spec.Dropout.P == 0 ? null : _masks?[target.Module];
        var shape = y.shape;
        var sequences = MemberRows.Whole(x.dim() < 3 ? 1 : (int)x.shape[..^2].Aggregate(1L, static (a, b) => a * b),
            x.dim() < 2 ? 1 : (int)x.shape[^2]);
        var hidden = masks is null || spec.Dropout.Site != DropoutSite.Hidden ? (Func<long, Tensor>?)null
            : width => stack([.. masks.Draw([rows.Count, width], y.device)], 1).unsqueeze(0);
        var (slots, down, up) = SidesOf(target, tensors);
        var dtype = up.dtype;
        // What decides sees the numbers that are multiplied: they may be in another type.
        var given = rows.To(dtype);
        Tensor Exactly(string slot) => given.To(ScalarType.Float64)
            .Times(slots.Single(own => own.Name == slot).Rows[0].to(ScalarType.Float64)).unsqueeze(0);
        var asked = _asking?.Invoke();
        var context = new MixContext(target.Scaling, sequences, hidden) { Training = asked, Exactly = Exactly };
        var z = Down(slots, down, given, spec.Dropout.Site == DropoutSite.Input ? masks : null);
        var u = method.Mix(tensors, z, context)[0];
        foreach (var penalty in asked?.Penalties ?? []) penalty.DetachFromDisposeScope(); // the asker's
        var flat = y.reshape(-1, target.OutWidth);
        if (!method.HasColumns)
        {
            return (flat.dtype == dtype ? flat.addmm(u, up, 1, 1) : flat.Plus(u.mm(up).to(flat.dtype))).reshape(shape);
        }

        var (layer, squares) = FrozenOf(target, dtype);
        Tensor norms;
        using (no_grad()) norms = Bottleneck.Norms(method, tensors, target.Scaling, layer, squares);
        var bias = layer.Bias?.to(dtype);
        var direction = (bias is null ? flat.to(dtype) : flat.to(dtype) - bias).addmm(u, up, 1, 1);
        var scaled = direction * method.Columns(tensors, norms);
        return (bias is null ? scaled : scaled.Plus(bias)).to(y.dtype).reshape(shape);
    }

    // What is multiplied with the input, [K, D_in], and what gives the output, [L, D_out]. Where no gradient is wanted, no value moves in
    // a pass, so that they are laid out once.
    private (IReadOnlyList<Slot> Slots, Tensor Down, Tensor Up) SidesOf(AdapterTarget target, LayerTensors tensors)
    {
        if (_sides.TryGetValue(target.Module, out var known)) return known;
        var factors = _adapter.Layout.MethodOf(target).Factors(tensors);
        var sides = (factors.Down, LaidRows(factors.Down), Bottleneck.LaidHeads(factors.Up)[0]);
        if (is_grad_enabled()) return sides;
        foreach (var tensor in (Tensor[])[.. factors.Down.Select(static slot => slot.Rows), sides.Item2, sides.Item3])
            tensor.DetachFromDisposeScope();
        return _sides[target.Module] = sides;
    }

    // One product for all slots, or one for each mask and one for what is not dropped.
    private static Narrow Down(IReadOnlyList<Slot> slots, Tensor laid, IWideRows rows, LayerMasks? masks)
    {
        if (masks is null || !rows.CanBeDropped) return new([.. Parts(slots, rows.Times(laid).unsqueeze(1))]);
        Slot[] dropped = [.. slots.Where(static slot => slot.IsDropped)], whole = [.. slots.Where(static slot => !slot.IsDropped)];
        var down = stack([.. masks.Draw(rows.Shape, slots[0].Rows.device).Select(mask => rows.Times(LaidRows(dropped), mask))], 1);
        IEnumerable<KeyValuePair<string, Tensor>> rest = whole.Length == 0 ? [] : Parts(whole, rows.Times(LaidRows(whole)).unsqueeze(1));
        var parts = Parts(dropped, down).Concat(rest).ToDictionary(StringComparer.Ordinal);
        return new([.. slots.Select(slot => KeyValuePair.Create(slot.Name, parts[slot.Name]))]);
    }

    private static Tensor LaidRows(IReadOnlyList<Slot> slots) => Bottleneck.Laid([.. slots.Select(static slot => slot.Rows)])[0];

    // [M, masks, K] to [1, M, masks, k] by slot.
    private static IEnumerable<KeyValuePair<string, Tensor>> Parts(IReadOnlyList<Slot> slots, Tensor down)
    {
        var offset = 0L;
        foreach (var slot in slots)
        {
            var width = slot.Rows.shape[1];
            yield return new(slot.Name, down.narrow(2, offset, width).unsqueeze(0));
            offset += width;
        }
    }

    // The squared norms of the weight's rows are the same for the whole pass.
    private (FrozenLinear Layer, Tensor Squares) FrozenOf(AdapterTarget target, ScalarType dtype)
    {
        if (_frozen.TryGetValue(target.Module, out var known)) return known;
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var layer = (_model ?? throw new InvalidOperationException($"{target.Module}: no model for the norms of its weight"))
            .Frozen(target.Layer);
        var squares = layer.Rows(dtype).Squared().sum([1]).DetachFromDisposeScope();
        return _frozen[target.Module] = (layer, squares);
    }

    /// <summary>The wide input of a layer.</summary>
    private interface IWideRows
    {
        long Count => Shape[0];

        long[] Shape { get; }

        bool CanBeDropped { get; }

        IWideRows To(ScalarType dtype);

        /// <summary>Times the rows of slots, <c>[K, D_in]</c>: <c>[M, K]</c>.</summary>
        Tensor Times(Tensor rows, Tensor? mask = null);
    }

    private sealed class DenseRows(Tensor x) : IWideRows
    {
        public long[] Shape => x.shape;

        public bool CanBeDropped => true;

        public IWideRows To(ScalarType dtype) => x.dtype == dtype ? this : new DenseRows(x.to(dtype));

        public Tensor Times(Tensor rows, Tensor? mask) => nn.functional.linear(mask is null ? x : x * mask, rows);
    }

    // A token id is a one-hot row, which picks columns. It cannot be dropped in part: as in PEFT, an embedding has no dropout on its input.
    private sealed class OneHotRows(Tensor ids) : IWideRows
    {
        public long[] Shape => ids.shape;

        public bool CanBeDropped => false;

        public IWideRows To(ScalarType dtype) => this;

        public Tensor Times(Tensor rows, Tensor? mask) => rows.t().index_select(0, ids);
    }
}

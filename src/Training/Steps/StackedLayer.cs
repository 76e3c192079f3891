using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// The adapters of several members on one linear layer: the equation of <see cref="LowRankLayer"/> with members as a batch dimension.
/// A and its frozen twin (and the router) are one product of the wide input, the heads one product of their narrow inputs, and the
/// frozen product is added into the same buffer.
/// </summary>
internal sealed class StackedLayer
{
    private readonly AdapterSpec _spec;
    private readonly double _scaling;
    private readonly Trained _a;
    private readonly Trained _b;
    private readonly Trained? _router;
    private readonly Tensor? _twinA;
    private readonly Tensor? _twinUp;

    /// <param name="spec">The method.</param>
    /// <param name="scaling">s of this layer.</param>
    /// <param name="a"><c>[G, R, D_in]</c>; [1, R, D_in] where all members have the same and none trains it.</param>
    /// <param name="b"><c>[G, N, D_out, R]</c>.</param>
    /// <param name="router"><c>[G, N, D_in]</c>; null unless the method routes by the input.</param>
    /// <param name="twins">A^0 and B^0, shaped as A and B, where the start is anchored.</param>
    public StackedLayer(AdapterSpec spec, double scaling, Trained a, Trained b, Trained? router, (Tensor A, Tensor B)? twins)
    {
        (_spec, _scaling, _a, _b, _router) = (spec, scaling, a, b, router);
        if (twins is not { } twin) return;
        _twinA = twin.A;
        _twinUp = (router is not null ? SideBySide(twin.B) : twin.B.sum([1])).neg();
    }

    /// <summary>What the heads of several layers see of one input, before masks: a single product of the input.</summary>
    /// <returns>For each layer [G, m, its rows]; null where a layer hides a part of the input.</returns>
    public static IReadOnlyList<Tensor>? DownTogether(Tape tape, Tensor x, Packing packing, IReadOnlyList<StackedLayer> layers)
    {
        if (layers.Any(static layer => layer.Site == DropoutSite.Input)) return null;
        var all = Down(tape, x, packing, null, [.. layers.SelectMany(static layer => layer.DownFactors)]);
        var (parts, offset) = (new List<Tensor>(), 0L);
        foreach (var layer in layers)
        {
            var rows = layer.DownFactors.Sum(static factor => factor.Value.shape[1]);
            parts.Add(all.narrow(2, offset, rows));
            offset += rows;
        }

        if (tape.Tracks(all))
            tape.Record([.. parts], [], (_, gradients) => tape.Add(all, cat([.. gradients.Zip(parts, static (gradient, part) => gradient ?? zeros_like(part))], 2)));
        return parts;
    }

    /// <summary>The output of the layer, bias and adapters included.</summary>
    /// <param name="tape">Keeps the backward pass.</param>
    /// <param name="x"><c>[G m, D_in]</c>.</param>
    /// <param name="layer">The frozen layer.</param>
    /// <param name="packing">Whose rows these are.</param>
    /// <param name="masks">Each member's; null without dropout.</param>
    /// <param name="down">From <see cref="DownTogether"/>; null where the layer is alone.</param>
    public Tensor Apply(Tape tape, Tensor x, FrozenLinear layer, Packing packing, IReadOnlyList<LayerMasks>? masks, Tensor? down)
    {
        var inner = Inner(tape, x, packing, masks, down);
        var dtype = x.dtype;
        var weight = layer.Down(dtype);
        var y = tape.Take(x.shape[0], weight.shape[1]);
        Tape.MultiplyInto(y, x, weight, keeps: false);
        using (NewDisposeScope()) Tape.MultiplyInto(y, inner.reshape(-1, inner.shape[2]), Up(), keeps: true);
        if (layer.Bias is not null) y.add_(layer.Bias);
        if (!tape.Tracks(x) && !tape.Tracks(inner) && _b.Gradient is null) return y;
        tape.Record([y], [_b.Gradient is null ? null : inner], (saved, gradients) =>
        {
            var gradient = gradients[0]!.reshape(packing.Members, packing.RowsPerMember, -1);
            if (saved[0] is { } input) AddToHeads(input.narrow(2, 0, HeadsWidth).transpose(1, 2).bmm(gradient));
            if (tape.Tracks(inner)) tape.Add(inner, gradient.bmm(Up().transpose(1, 2)));
            if (tape.Tracks(x)) tape.AddProduct(x, gradients[0]!, layer.Down(dtype).t());
        });
        return y;
    }

    private int Heads => _spec.Heads;

    private long Rank => _b.Value.shape[3];

    private long HeadsWidth => Heads * Rank;

    private double Share => _spec.Routing is Routing.Mean ? _scaling / _spec.Heads : _scaling;

    // What the heads see, [G, m, K]: their r-wide inputs side by side, then those of the twins.
    private Tensor Inner(Tape tape, Tensor x, Packing packing, IReadOnlyList<LayerMasks>? masks, Tensor? down)
    {
        var site = masks is null ? DropoutSite.None : Site;
        var drawn = site == DropoutSite.None ? [] : Draw(masks!, packing, site == DropoutSite.Hidden ? Rank : x.shape[1]);
        if (site != DropoutSite.Input) return Mixed(tape, [], down ?? Down(tape, x, packing, null, DownFactors), drawn);
        // The router and the twin see the whole input.
        var whole = DownFactors.Count == 1 ? null : Down(tape, x, packing, null, DownFactors[1..]);
        return Mixed(tape, [.. drawn.Select(mask => Down(tape, x, packing, mask.view(x.shape), [_a]))], whole, []);
    }

    private DropoutSite Site => _spec.Dropout.P == 0 ? DropoutSite.None : _spec.Dropout.Site;

    // In the order in which Mixed takes them apart.
    private List<Trained> DownFactors => [_a, .. _twinA is null ? [] : (Trained[])[new(_twinA, null)], .. _router is null ? [] : (Trained[])[_router]];

    // x, or x under a mask, times factors laid below each other: [G, m, sum of their rows].
    private static Tensor Down(Tape tape, Tensor x, Packing packing, Tensor? mask, List<Trained> parts)
    {
        var trains = parts.Exists(static part => part.Gradient is not null);
        var z = Product(mask is null ? x : x * mask, Below(parts), packing);
        if (!trains && !tape.Tracks(x)) return z;
        tape.Record([z], [trains ? x : null, mask], (saved, gradients) =>
        {
            if (saved[0] is { } input)
            {
                var rows = saved[1] is { } kept ? input * kept : input;
                AddToRows(parts, gradients[0]!.transpose(1, 2).bmm(rows.view(packing.Members, packing.RowsPerMember, -1)));
            }

            if (!tape.Tracks(x)) return;
            var (left, right) = (gradients[0]!.reshape(-1, gradients[0]!.shape[2]), Below(parts));
            if (saved[1] is not { } hidden)
            {
                tape.AddProduct(x, left, right);
                return;
            }

            var product = tape.Take(left.shape[0], right.shape[2]);
            Tape.MultiplyInto(product, left, right, keeps: false);
            tape.Add(x, product.mul_(hidden));
        });
        return z;
    }

    // From [A x; A^0 x; router x] to what the heads see.
    private Tensor Mixed(Tape tape, Tensor[] dropped, Tensor? plain, List<Tensor> masks)
    {
        if (Heads == 1 && _router is null && (dropped.Length == 0 || plain is null))
        {
            // One head, with or without its twin: a number for each element.
            plain ??= dropped[0];
            var factor = masks.Count == 0
                ? null
                : Beside(
                    masks[0].to(plain.dtype) * Share,
                    _twinA is null ? null : full_like(masks[0], Living.Of(Share), dtype: plain.dtype));
            var inner = factor is null ? plain * Share : plain * factor;
            if (tape.Tracks(plain)) tape.Record([inner], [factor], (saved, gradients) => tape.Add(plain, saved[0] is { } times ? gradients[0]! * times : gradients[0]! * Share));
            return inner;
        }

        Tensor[] inputs = plain is null ? dropped : [.. dropped, plain];
        return tape.Local(inputs, hasLeaves: false, values =>
        {
            var (all, offset) = (values[^1], 0L);
            var down = dropped.Length > 0 ? stack(values[..dropped.Length], 2) : Next(Rank).unsqueeze(2); // [G, m, 1 or N, R]
            if (masks.Count > 0) down *= stack(masks, 2);
            var twin = _twinA is null ? null : Next(Rank).unsqueeze(2);
            var mix = _router is null ? null : Next(_spec.Heads).softmax(-1).mul(Living.Of(_scaling)).unsqueeze(-1);
            if (mix is not null) return [Beside((down * mix).flatten(2), twin is null ? null : (twin * mix).flatten(2))];
            return [Beside((down * Share).expand(-1, -1, Heads, -1).flatten(2), twin is null ? null : (twin * Share).flatten(2))];

            Tensor Next(long width)
            {
                offset += width;
                return all.narrow(2, offset - width, width);
            }
        })[0];
    }

    // [G, K, D_out]: the heads one below the other, then the twins' with a minus. As long rows, the small products take a third of the time.
    private Tensor Up() => Beside(SideBySide(_b.Value), _twinUp).transpose(1, 2).contiguous();

    // [G, N R, D_out].
    private void AddToHeads(Tensor gradient)
    {
        _b.Gradient!.add_(gradient.view(gradient.shape[0], Heads, Rank, gradient.shape[2]).transpose(2, 3));
    }

    private static void AddToRows(List<Trained> parts, Tensor gradient)
    {
        var offset = 0L;
        foreach (var (value, target) in parts)
        {
            var rows = value.shape[1];
            target?.add_(gradient.narrow(1, offset, rows));
            offset += rows;
        }
    }

    // A member's masks are drawn for its real tokens, so that they do not depend on its neighbours; padding is hidden.
    private static List<Tensor> Draw(IReadOnlyList<LayerMasks> masks, Packing packing, long width)
    {
        var perMember = masks.Select((mask, member) => mask.Draw([packing.Tokens[member], width], packing.Ids.device)
            .Select(drawn => Padded(drawn, packing.RowsPerMember)).ToList()).ToList();
        return [.. Enumerable.Range(0, perMember[0].Count).Select(head => stack(perMember.Select(list => list[head])))];
    }

    private static Tensor Padded(Tensor drawn, long rows) => drawn.shape[0] == rows
        ? drawn
        : cat([drawn, zeros([rows - drawn.shape[0], drawn.shape[1]], drawn.dtype, drawn.device)], 0);

    // [G m, D_in] times [G or 1, K, D_in] turned: [G, m, K].
    private static Tensor Product(Tensor x, Tensor factor, Packing packing) => factor.shape[0] == 1
        ? x.mm(factor[0].t()).view(packing.Members, packing.RowsPerMember, -1)
        : x.view(packing.Members, packing.RowsPerMember, -1).bmm(factor.transpose(1, 2));

    private static Tensor Below(List<Trained> parts)
    {
        if (parts.Count == 1) return parts[0].Value;
        var members = parts.Max(static part => part.Value.shape[0]);
        return cat([.. parts.Select(part => part.Value.expand(members, -1, -1))], 1);
    }

    private static Tensor Beside(Tensor first, Tensor? second) => second is null ? first : cat([first, second], -1);

    // [G, N, D_out, R] -> [G, D_out, N R].
    private static Tensor SideBySide(Tensor heads) => heads.shape[1] == 1 ? heads.select(1, 0) : heads.permute(0, 2, 1, 3).flatten(2);

    /// <summary>A factor of all members and where its gradient goes; null where it does not train.</summary>
    internal sealed record Trained(Tensor Value, Tensor? Gradient);
}

using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>Rows that the input of a layer is multiplied with, for some members.</summary>
/// <param name="Slot">The slot's name.</param>
/// <param name="IsDropped">As the slot says.</param>
/// <param name="Rows"><c>[G or 1, k, D_in]</c>.</param>
internal sealed record DownSide(string Slot, bool IsDropped, Wide Rows);

/// <summary>The wide sides of a layer's adapter, for some members.</summary>
/// <param name="Down">Rows that the input is multiplied with.</param>
/// <param name="Up">Heads that give the output, <c>[G or 1, N, D_out, k]</c>.</param>
internal sealed record LayerSides(IReadOnlyList<DownSide> Down, IReadOnlyList<Wide> Up);

/// <summary>
/// The frame around every method on one layer, for members side by side: z = x Down^T for all slots in one product, u = Mix(z), and u Up
/// added into the memory of the frozen product. Back: dUp = u^T dy, du = dy Up^T, dz by the mix's own, dDown = dz^T x, dx += dz Down.
/// </summary>
/// <param name="method">What stands between the wide sides.</param>
/// <param name="target">The layer.</param>
/// <param name="site">Where dropout sits.</param>
/// <param name="sides">The wide sides; those that are computed of what trains are computed in each pass.</param>
/// <param name="tensorOf">The members' tensors by role.</param>
/// <param name="startOf">Their kept start by role; null where there is none.</param>
/// <param name="training">Makes what takes penalties and counts; null where nobody asks for them.</param>
/// <param name="counted">Gets what a pass has counted, by role.</param>
/// <param name="features">What terms of the objective make of what comes down by A; null where none looks at it.</param>
/// <param name="frozen">
/// Whose outputs' norms the method asks for, and their squares for the weight alone; null where it asks for none.
/// </param>
internal sealed class BottleneckLayer(
    AdapterMethod method, AdapterTarget target, DropoutSite site, LayerSides sides, Func<string, Trained> tensorOf,
    Func<string, Tensor?> startOf, (FrozenLinear Layer, Tensor Squares)? frozen, Func<MixTraining>? training = null,
    Action<string, Tensor>? counted = null, IReadOnlyList<IFeatureTerm>? features = null)
{
    /// <summary>The wide sides as this pass sees them.</summary>
    public LayerSides Sides(Tape tape)
    {
        var (down, up) = (sides.Down, sides.Up);
        if (!down.Any(static slot => slot.Rows.IsOnTape) && !up.Any(static heads => heads.IsOnTape)) return sides;
        var values = tape.Derive([], tensorOf, (_, leaves) =>
        {
            var factors = method.Factors(new LayerTensors(role => leaves[role], startOf));
            return
            [
                .. factors.Down.Zip(down).Where(static pair => pair.Second.Rows.IsOnTape).Select(static pair => pair.First.Rows),
                .. factors.Up.Zip(up).Where(static pair => pair.Second.IsOnTape).Select(static pair => pair.First),
            ];
        });
        tape.Hold(values);
        var computed = new Queue<Tensor>(values);
        Wide Now(Wide wide) => wide.IsOnTape ? wide with { Value = computed.Dequeue() } : wide;
        return new([.. down.Select(side => side with { Rows = Now(side.Rows) })], [.. up.Select(Now)]);
    }

    /// <summary>What comes down from one input for several layers, before masks: a single product of the input.</summary>
    /// <returns>For each layer <c>[G, m, its rows]</c>; null where a layer hides a part of the input.</returns>
    public static IReadOnlyList<Tensor>? DownTogether(
        Tape tape, LayerInput input, IReadOnlyList<(BottleneckLayer Layer, LayerSides Sides)> layers)
    {
        if (layers.Any(static layer => layer.Layer.HidesInput)) return null;
        var all = Down(tape, input, null, [.. layers.SelectMany(static layer => layer.Sides.Down).Select(static slot => slot.Rows)]);
        var (parts, offset) = (new List<Tensor>(), 0L);
        foreach (var (_, own) in layers)
        {
            var rows = own.Down.Sum(static slot => slot.Rows.Value.shape[1]);
            parts.Add(all.narrow(2, offset, rows));
            offset += rows;
        }

        if (tape.Tracks(all))
        {
            tape.Record([.. parts], [], (_, gradients) => tape.Add(
                all, cat([.. gradients.Zip(parts, static (gradient, part) => gradient ?? zeros_like(part))], 2)));
        }

        return parts;
    }

    /// <summary>The output of the layer with the members' adapters.</summary>
    /// <param name="tape">Keeps the backward pass.</param>
    /// <param name="input">What goes in.</param>
    /// <param name="layer">The frozen layer; null for an embedding, whose rows are there.</param>
    /// <param name="rows">Those of an embedding, which are added to; else null.</param>
    /// <param name="own">From <see cref="Sides"/>.</param>
    /// <param name="masks">Each member's; null without dropout.</param>
    /// <param name="down">From <see cref="DownTogether"/>; null where the layer is alone.</param>
    public Tensor Apply(
        Tape tape, LayerInput input, FrozenLinear? layer, Tensor? rows, LayerSides own, IReadOnlyList<LayerMasks>? masks, Tensor? down)
    {
        var (u, scale) = Mixed(tape, input, own, masks, down);
        var y = rows ?? tape.Take(input.Value.shape[0], target.OutWidth);
        layer?.MultiplyInto(y, input.Value);
        using (NewDisposeScope()) Tape.MultiplyInto(y, u.reshape(-1, u.shape[2]), Up(own, scale), keeps: true);
        var trained = TrainedRows(own);
        if (tape.Tracks(u) || trained > 0 || (layer is not null && tape.Tracks(input.Value)))
        {
            var x = input.Value;
            tape.Record([y], [trained > 0 ? u : null], (saved, gradients) =>
            {
                var gradient = gradients[0]!.reshape(input.Members, input.Rows.Count, -1);
                if (saved[0] is { } narrow) AddToUp(tape, own, narrow.narrow(2, 0, trained).transpose(1, 2).bmm(gradient), scale);
                if (tape.Tracks(u)) tape.Add(u, gradient.bmm(Up(own, scale).transpose(1, 2).expand(input.Members, -1, -1)));
                if (layer is not null)
                {
                    tape.AddInto(x, gradients[0]!.shape[0], target.InWidth, (sum, keeps) =>
                        layer.MultiplyBackInto(sum, gradients[0]!, keeps));
                }
            });
        }

        if (method.HasColumns) y = tape.Columns(y, Factor(tape));
        return layer?.Bias is { } bias ? y.add_(bias, Living.One) : y;
    }

    private bool HidesInput => site == DropoutSite.Input;

    // A number for each output of each member.
    private Tensor Factor(Tape tape)
    {
        var (layer, squares) = frozen ?? throw new InvalidOperationException($"{target.Module}: no frozen layer for the norms of its rows");
        var norms = Bottleneck.Norms(method, new LayerTensors(role => tensorOf(role).Value, startOf), target.Scaling, layer, squares);
        return tape.Derive([], tensorOf, (_, leaves) => [method.Columns(new LayerTensors(role => leaves[role], startOf), norms)])[0];
    }

    // What goes up, [G, m, L], and the number that its heads are multiplied with instead of it.
    private (Tensor U, double Scale) Mixed(Tape tape, LayerInput input, LayerSides own, IReadOnlyList<LayerMasks>? masks, Tensor? down)
    {
        // A token id cannot be dropped in part: as in PEFT, an embedding has no dropout on its input.
        var at = masks is null || (site == DropoutSite.Input && input is OneHotInput) ? DropoutSite.None : site;
        if (at != DropoutSite.Input)
        {
            var all = down ?? Down(tape, input, null, [.. own.Down.Select(static slot => slot.Rows)]);
            Look(tape, input, own, all);
            return method.IsPlain
                ? (at == DropoutSite.None ? all : Masked(tape, all, input, own, masks!), target.Scaling)
                : (Derived(tape, input, own, [all], 0, at == DropoutSite.Hidden ? width => Hidden(masks!, input, width) : null), 1);
        }

        Wide[] dropped = [.. own.Down.Where(static slot => slot.IsDropped).Select(static slot => slot.Rows)];
        Wide[] whole = [.. own.Down.Where(static slot => !slot.IsDropped).Select(static slot => slot.Rows)];
        var products = Draw(masks!, input, input.Value.shape[1])
            .Select(mask => Down(tape, input, mask.view(input.Value.shape), dropped)).ToList();
        Look(tape, input, own, products[0]);
        if (method.IsPlain && whole.Length == 0 && products.Count == 1) return (products[0], target.Scaling);
        Tensor[] rest = whole.Length == 0 ? [] : [Down(tape, input, null, whole)];
        return (Derived(tape, input, own, [.. products, .. rest], products.Count, null), 1);
    }

    // What terms of the objective make of the rows of A, which come first. Nothing else is above a penalty, so its gradient is known at
    // once, and all that is kept of it.
    private void Look(Tape tape, LayerInput input, LayerSides own, Tensor down)
    {
        if (features is not { Count: > 0 }) return;
        if (own.Down[0].Slot != LowRankFactors.A)
            throw new InvalidOperationException($"{target.Module}: the first rows are not those of A");
        using var scope = NewDisposeScope();
        var width = own.Down[0].Rows.Value.shape[1];
        foreach (var term in tape.IsAgain ? [] : features) term.See(down.narrow(2, 0, width), input.Rows);
        if (tape.IsDry || !tape.Tracks(down)) return;
        using var recording = enable_grad();
        var phi = down.narrow(2, 0, width).detach().requires_grad_();
        foreach (var penalty in features.SelectMany(term => term.Penalties(phi, input.Rows)))
        {
            if (penalty.requires_grad) autograd.backward([penalty], [ones_like(penalty)]);
        }

        if (phi.grad is not { } gradient) return;
        var rest = down.shape[2] - width;
        var whole = rest == 0 ? gradient : cat([gradient, zeros([.. down.shape[..2], rest], down.dtype, down.device)], 2);
        tape.Record([], [whole], (saved, _) => tape.Add(down, saved[0]!));
    }

    // The mix, by libtorch's autograd over what is narrow.
    private Tensor Derived(Tape tape, LayerInput input, LayerSides own, Tensor[] inputs, int masked, Func<long, Tensor>? draw)
    {
        var asked = training?.Invoke();
        var u = tape.Derive(inputs, tensorOf, (values, leaves) =>
        {
            Tensor Exactly(string slot) => input.Exactly(own.Down.Single(side => side.Slot == slot).Rows.Value);
            var context = new MixContext(target.Scaling, input.Rows, draw) { Training = asked, Exactly = Exactly };
            return [method.Mix(new LayerTensors(role => leaves[role], startOf), NarrowOf(own, values, masked), context)];
        }, () => asked?.Penalties ?? [])[0];
        if (asked is not null && !tape.IsDry)
        {
            foreach (var (role, counts) in asked.Counts) counted?.Invoke(role, counts.detach());
        }

        return u;
    }

    // Products of what is dropped come first, one for each mask; then one of the rest.
    private static Narrow NarrowOf(LayerSides own, Tensor[] values, int masked)
    {
        var dropped = masked == 0 ? null : stack(values[..masked], 2);
        var (parts, fromDropped, fromRest) = (new List<KeyValuePair<string, Tensor>>(), 0L, 0L);
        foreach (var side in own.Down)
        {
            var width = side.Rows.Value.shape[1];
            if (dropped is not null && side.IsDropped)
            {
                parts.Add(new(side.Slot, dropped.narrow(3, fromDropped, width)));
                fromDropped += width;
            }
            else
            {
                parts.Add(new(side.Slot, values[^1].narrow(2, fromRest, width).unsqueeze(2)));
                fromRest += width;
            }
        }

        return new(parts);
    }

    // One head under its mask; what is not dropped is as it was.
    private static Tensor Masked(Tape tape, Tensor all, LayerInput input, LayerSides own, IReadOnlyList<LayerMasks> masks)
    {
        var factor = cat([.. own.Down.Select(slot =>
        {
            var width = slot.Rows.Value.shape[1];
            return slot.IsDropped
                ? Draw(masks, input, width)[0].to(all.dtype)
                : ones([input.Members, input.Rows.Count, width], all.dtype, all.device);
        })], 2);
        var u = all * factor;
        if (tape.Tracks(all)) tape.Record([u], [factor], (saved, gradients) => tape.Add(all, gradients[0]! * saved[0]!));
        return u;
    }

    // x, or x under a mask, times rows laid below each other: [G, m, sum of their counts].
    private static Tensor Down(Tape tape, LayerInput input, Tensor? mask, IReadOnlyList<Wide> rows)
    {
        var (trains, x) = (rows.Any(static part => part.Trains), input.Value);
        var z = input.Times(Laid(rows), mask);
        if (!trains && !tape.Tracks(x)) return z;
        tape.Record([z], [trains ? x : null, mask], (saved, gradients) =>
        {
            if (saved[0] is { } given) input.AddToRows(tape, given, saved[1], gradients[0]!, rows);
            if (!tape.Tracks(x)) return;
            var (left, right) = (gradients[0]!.reshape(-1, gradients[0]!.shape[2]), Laid(rows));
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

    private static Tensor Laid(IReadOnlyList<Wide> rows) => Bottleneck.Laid([.. rows.Select(static part => part.Value)]);

    // [G or 1, L, D_out]. As long rows, the small products take a third of the time.
    private static Tensor Up(LayerSides own, double scale)
    {
        var laid = Bottleneck.LaidHeads([.. own.Up.Select(static heads => heads.Value)]);
        if (scale == 1) return laid.contiguous();
        // A single tensor was handed on as it is, and must not be written.
        return (own.Up.Count > 1 ? laid : empty(laid.shape, laid.dtype, laid.device).copy_(laid)).mul_(Living.Of(scale));
    }

    // Columns of u up to the last heads that train.
    private static long TrainedRows(LayerSides own)
    {
        var (trained, offset) = (0L, 0L);
        foreach (var heads in own.Up)
        {
            offset += heads.Value.shape[1] * heads.Value.shape[3];
            if (heads.Trains) trained = offset;
        }

        return trained;
    }

    // [G, L, D_out].
    private static void AddToUp(Tape tape, LayerSides own, Tensor gradient, double scale)
    {
        var offset = 0L;
        foreach (var heads in own.Up)
        {
            var (count, width, rank) = (heads.Value.shape[1], heads.Value.shape[2], heads.Value.shape[3]);
            if (heads.Trains)
            {
                var part = gradient.narrow(1, offset, count * rank);
                heads.Add(tape, part.view(part.shape[0], count, rank, width).transpose(2, 3), scale);
            }

            offset += count * rank;
        }
    }

    private static Tensor Hidden(IReadOnlyList<LayerMasks> masks, LayerInput input, long width) => stack(Draw(masks, input, width), 2);

    // A member's masks are drawn for its real rows, so that they do not depend on its neighbours; padding is hidden.
    private static Tensor[] Draw(IReadOnlyList<LayerMasks> masks, LayerInput input, long width)
    {
        var perMember = masks.Select((mask, member) => mask.Draw([input.Rows.Real[member], width], input.Value.device)
            .Select(drawn => Padded(drawn, input.Rows.Count)).ToList()).ToList();
        return [.. Enumerable.Range(0, perMember[0].Count).Select(head => stack(perMember.Select(list => list[head])))];
    }

    private static Tensor Padded(Tensor drawn, long rows) => drawn.shape[0] == rows
        ? drawn
        : cat([drawn, zeros([rows - drawn.shape[0], drawn.shape[1]], drawn.dtype, drawn.device)], 0);
}

using FedRLora.Training.Adapters;
using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// The operations on the packed rows of several members, <c>[G m, D]</c>, with backward passes written by hand where that saves
/// memory or time: a frozen weight keeps no input, a norm keeps no normed copy, and gradients of one input meet in one buffer.
/// Formulas: the derivatives of those in <see cref="Blocks"/>; tests compare them with autograd for every family and method.
/// </summary>
internal sealed class TapedPass : ForwardPass
{
    private readonly ModelConfig _config;
    private readonly Workspace _workspace;
    private readonly Packing _packing;
    private readonly StackSlice _adapters;
    private readonly ScalarType _dtype;
    private readonly IStepKernels _kernels;
    private readonly (Tensor Cos, Tensor Sin)? _rotary;
    private readonly bool _checkpoints;
    private readonly ScalarType? _compute;
    private Tape _tape;

    /// <param name="model">Whose layers run.</param>
    /// <param name="tape">Keeps the backward pass; in no-grad mode.</param>
    /// <param name="workspace">The tape's.</param>
    /// <param name="packing">The tokens.</param>
    /// <param name="adapters">The members' adapters, in the packing's order.</param>
    /// <param name="checkpoints">Keeps the input of each layer alone and computes the layer again in the backward pass.</param>
    /// <param name="compute">Of products with frozen weights; null for the model's type.</param>
    public TapedPass(
        CausalLanguageModel model, Tape tape, Workspace workspace, Packing packing, StackSlice adapters, bool checkpoints = false,
        ScalarType? compute = null)
    {
        (_checkpoints, _compute) = (checkpoints, compute);
        (_config, _tape, _workspace, _packing, _adapters, _dtype) = (model.Config, tape, workspace, packing, adapters, model.Dtype);
        _kernels = StepKernels.For(packing.Ids.device, _dtype);
        if (!model.HasRotary) return;
        var (cos, sin) = Blocks.RotaryTable(0, packing.MaxLength, model.Config, packing.Ids.device, _dtype);
        Tensor Placed(Tensor table) => table.narrow(1, 0, table.shape[1] / 2).index_select(0, packing.Positions); // both halves turn alike
        _rotary = (Placed(cos), Placed(sin));
    }

    public override Tensor Embedding(LinearShape layer, FrozenMatrix table)
    {
        var rows = table.Gather(_packing.Ids, _dtype);
        return _adapters.Layer(layer.Module) is { } adapter
            ? adapter.Apply(_tape, new OneHotInput(_packing.Ids, _packing.Rows), null, rows, adapter.Sides(_tape),
                _adapters.MasksFor(layer.Module), null)
            : rows;
    }

    public override Tensor AddPositions(Tensor x, Tensor table) => Add(x, table.index_select(0, _packing.Positions).to(_dtype));

    public override Tensor Scale(Tensor x, Tensor factor)
    {
        var y = x * factor;
        if (_tape.Tracks(x)) _tape.Record([y], [factor], (saved, gradients) => _tape.Add(x, gradients[0]! * saved[0]!));
        return y;
    }

    public override Tensor[] Linear(Tensor x, FrozenLinear[] layers) => Linear(new DenseInput(x, _packing.Rows), layers);

    public override Tensor Add(Tensor x, Tensor branch)
    {
        // A branch's result is kept by nobody, so its memory takes the sum.
        var y = branch.add_(x, Living.One).detach();
        if (_tape.Tracks(x) || _tape.Tracks(branch))
        {
            _tape.Record([y], [], (_, gradients) =>
            {
                _tape.Add(branch, gradients[0]!, isShared: true);
                _tape.Add(x, gradients[0]!, isShared: true);
            });
            _tape.Frame(_workspace.Top); // above a sum, everything is done with
        }

        return y;
    }

    public override Tensor RmsNorm(Tensor x, Tensor weight, double epsilon, bool isOffset, int parts = 1)
    {
        var (shape, width) = (x.shape, x.shape[^1] / parts);
        var rows = x.reshape(-1, width);
        var factor = isOffset ? weight.to(x.dtype).Plus(Living.One) : weight.to(x.dtype);
        var (inverse, normed) = (_tape.Take(rows.shape[0], 1), _tape.Take(rows.shape[0], width));
        _kernels.RmsNorm(rows, factor, epsilon, inverse, normed);
        var y = normed.view(shape);
        if (_tape.Tracks(x))
        {
            _tape.Record([y], [rows, inverse, factor], (saved, gradients) =>
            {
                var gradient = gradients[0]!.reshape(-1, width).contiguous();
                _tape.AddBy(x, shape, (sum, result) =>
                    _kernels.RmsNormBackward(saved[0]!, saved[2]!, saved[1]!, gradient, sum?.view(-1, width), result.view(-1, width)));
            });
        }

        return y;
    }

    public override Tensor LayerNorm(Tensor x, Tensor weight, Tensor bias, double epsilon) => _tape.Local([x], inputs =>
        [nn.functional.layer_norm(inputs[0], [x.shape[^1]], weight.to(x.dtype), bias.to(x.dtype), epsilon)])[0];

    public override Tensor Activate(Tensor x, Activation activation) =>
        _tape.Local([x], inputs => [Blocks.Activate(inputs[0], activation)])[0];

    public override Tensor Gate(Tensor gate, Tensor up, Activation activation)
    {
        if (activation != Activation.Silu)
            return _tape.Local([gate, up], inputs => [Blocks.Activate(inputs[0], activation) * inputs[1]])[0];
        var y = _tape.Room(gate);
        _kernels.Gate(gate, up, y);
        if (_tape.Tracks(gate) || _tape.Tracks(up))
        {
            _tape.Record([y], [gate, up, y], (saved, gradients) =>
            {
                // Nobody reads the product, or its gradient, any more: their memory takes the two gradients.
                var (gradient, atGate) = (gradients[0]!.contiguous(), saved[2]!);
                _kernels.GateBackward(saved[0]!, saved[1]!, gradient, atGate, gradient);
                _tape.Add(gate, atGate);
                _tape.Add(up, gradient);
            });
        }

        return y;
    }

    public override (Tensor Query, Tensor Key, Tensor Value) SplitFused(Tensor x, int heads, bool isByHead)
    {
        var parts = _tape.Local([x], inputs => Blocks.SplitFused(inputs[0], heads, isByHead));
        return (parts[0], parts[1], parts[2]);
    }

    public override Tensor Attention(int layer, Tensor query, Tensor key, Tensor value)
    {
        var (heads, keyHeads) = (_config.AttentionHeads, _config.KeyValueHeads);
        (query, key) = (Rotate(query, heads), Rotate(key, keyHeads));
        if (_packing.Buckets is [{ Rows: null } whole]) return Attention(query, key, value, whole);
        Tensor[] parts = [query, key, value];
        return Joined([.. _packing.Buckets.Select(bucket =>
        {
            var gathered = parts.Select(part => Gathered(part, bucket)).ToArray();
            return Attention(gathered[0], gathered[1], gathered[2], bucket);
        })]);
    }

    /// <summary>Below the first adapter, and with checkpoints everywhere, nothing is kept but the result.</summary>
    public override Tensor Layer(int layer, Tensor x, Func<Tensor, Tensor> body)
    {
        var (mark, entries) = (_workspace.Top, _tape.Count);
        _tape.Frame(mark);
        if (_checkpoints) return Checkpoint(layer, x, body);
        var y = base.Layer(layer, x, body);
        return _tape.Count > entries + 1 ? y : Alone(y, mark);
    }

    // Forward keeping nothing; the backward pass goes forward once more, under the same masks, and then back.
    private Tensor Checkpoint(int layer, Tensor x, Func<Tensor, Tensor> body)
    {
        var (mark, entries, y) = (_workspace.Top, _tape.Count, x);
        _tape.IsDry = true;
        var drawn = _adapters.DrawnBy(() => y = base.Layer(layer, x, body));
        _tape.IsDry = false;
        y = Alone(y, mark);
        if (_tape.Count > entries)
        {
            var tracks = _tape.Tracks(x);
            _tape.Record([y], [x, .. drawn.SelectMany(static masks => masks.States)], (saved, gradients) =>
            {
                var offset = 1;
                foreach (var (masks, states) in drawn)
                {
                    masks.Rewind(saved[offset..(offset + states.Length)]!);
                    offset += states.Length;
                }

                var (outer, input) = (_tape, saved[0]!);
                // Frames of the tape within give back what gradients lie in.
                if (outer.HasGradients) throw new InvalidOperationException("a layer is computed again beside gradients of others");
                using var again = new Tape(_workspace) { IsAgain = true };
                if (tracks) again.Watch(input);
                (_tape, _workspace.IsBackward) = (again, false);
                again.Backward(body(input), gradients[0]!);
                (_tape, _workspace.IsBackward) = (outer, true);
                using var gradient = again.GradientOf(input);
                if (gradient is not null) outer.Add(x, gradient);
            });
        }

        foreach (var state in drawn.SelectMany(static masks => masks.States)) state.Dispose();
        return y;
    }

    // A result without what was taken on the way to it.
    private Tensor Alone(Tensor y, Workspace.Mark mark)
    {
        using var scope = NewDisposeScope();
        var moved = y.clone();
        _workspace.Release(mark);
        return _tape.Copy(moved).MoveToOuterDisposeScope();
    }

    /// <summary>Rows of a value; no row twice.</summary>
    public Tensor Rows(Tensor x, Tensor rows)
    {
        var (y, count) = (x.index_select(0, rows), x.shape[0]);
        if (_tape.Tracks(x)) _tape.Record([y], [rows], (saved, gradients) => _tape.Add(x, Scattered(gradients[0]!, saved[0]!, count)));
        return y;
    }

    /// <summary>Logits of the loss rows under an adapted LM head, members padded to one number of rows: <c>[G m, V]</c>.</summary>
    /// <param name="head">The frozen LM head.</param>
    /// <param name="hidden">The loss rows after the final norm, <c>[L, D]</c>.</param>
    /// <param name="places">Where each of them is among the padded; null where none is padded.</param>
    public Tensor AdaptedLogits(FrozenLinear head, Tensor hidden, Tensor? places)
    {
        var x = hidden;
        if (places is not null)
        {
            x = Scattered(hidden, places, (long)_packing.Losses.Real.Count * _packing.Losses.Count);
            if (_tape.Tracks(hidden))
                _tape.Record([x], [places], (saved, gradients) => _tape.Add(hidden, gradients[0]!.index_select(0, saved[0]!)));
        }

        return Linear(new DenseInput(x, _packing.Losses), [head])[0];
    }

    private Tensor[] Linear(DenseInput input, FrozenLinear[] layers)
    {
        var adapters = layers.Select(
            layer => _adapters.Layer(layer.Module) is { } adapter ? (Layer: adapter, Sides: adapter.Sides(_tape)) : default).ToList();
        var together = layers.Length > 1 && adapters.TrueForAll(static adapter => adapter.Layer is not null)
            ? BottleneckLayer.DownTogether(_tape, input, adapters)
            : null;
        var computing = layers.Select(layer => layer.Computing(_compute));
        return [.. computing.Zip(adapters).Select((pair, number) => pair.Second.Layer is { } adapter
            ? adapter.Apply(_tape, input, pair.First, null, pair.Second.Sides, _adapters.MasksFor(pair.First.Module), together?[number])
            : Frozen(input.Value, pair.First))];
    }

    // A frozen layer alone keeps nothing.
    private Tensor Frozen(Tensor x, FrozenLinear layer)
    {
        var (y, rows, width) = (_tape.Take(x.shape[0], layer.OutWidth), x.shape[0], x.shape[1]);
        layer.MultiplyInto(y, x);
        if (layer.Bias is not null) y.add_(layer.Bias, Living.One);
        if (_tape.Tracks(x))
        {
            _tape.Record([y], [], (_, gradients) => _tape.AddInto(
                x, rows, width, (sum, keeps) => layer.MultiplyBackInto(sum, gradients[0]!, keeps)));
        }

        return y;
    }

    // In place: a projection's result is kept by nobody.
    private Tensor Rotate(Tensor x, int heads)
    {
        if (_rotary is not { } table) return x;
        var y = x.contiguous().detach();
        _kernels.Turn(y, heads, table.Cos, table.Sin, isBack: false);
        if (_tape.Tracks(x))
        {
            _tape.Record([y], [table.Cos, table.Sin], (saved, gradients) =>
            {
                var gradient = gradients[0]!.contiguous(); // attention alone has written it
                _kernels.Turn(gradient, heads, saved[0]!, saved[1]!, isBack: true);
                _tape.Add(x, gradient);
            });
        }

        return y;
    }

    private Tensor Attention(Tensor query, Tensor key, Tensor value, Packing.Bucket bucket)
    {
        var (heads, keyHeads) = (_config.AttentionHeads, _config.KeyValueHeads);
        var headDim = (int)query.shape[1] / heads;
        var shape = new AttentionShape(bucket.Sequences, bucket.Length, heads, keyHeads, headDim, _config.SlidingWindow);
        if (_kernels.Attention is { } attention && shape.FitsCache) return Attention(attention, query, key, value, shape);
        Tensor Split(Tensor x, int count) => x.view(bucket.Sequences, bucket.Length, count, -1).transpose(1, 2);
        var mask = Blocks.CausalMask(0, bucket.Length, _config.SlidingWindow, query.device);
        return _tape.Local([query, key, value], inputs =>
        {
            var mixed = Blocks.Attention(Split(inputs[0], heads), Split(inputs[1], keyHeads), Split(inputs[2], keyHeads), mask);
            return [mixed.reshape(query.shape[0], -1)];
        })[0];
    }

    private Tensor Attention(HostAttention attention, Tensor query, Tensor key, Tensor value, AttentionShape shape)
    {
        var (mixed, norms) = (_tape.Room(query), _tape.Take(query.shape[0], 2 * shape.Heads));
        Tensor[] given = [query, key, value], parts = [.. given.Select(static part => part.contiguous())];
        attention.Forward(parts[0], parts[1], parts[2], shape, _workspace.Scratch(1, shape.ScratchElements), mixed, norms);
        if (given.Any(_tape.Tracks))
        {
            _tape.Record([mixed], [.. parts, norms], (saved, gradients) =>
            {
                Tensor[] slopes = [.. parts.Select((_, number) => _tape.Room(saved[number]!))];
                var (gradient, scratch) = (gradients[0]!.contiguous(), _workspace.Scratch(1, shape.ScratchElements));
                attention.Backward(
                    saved[0]!, saved[1]!, saved[2]!, saved[3]!, gradient, shape, scratch, slopes[0], slopes[1], slopes[2]);
                foreach (var (part, slope) in given.Zip(slopes)) _tape.Add(part, slope);
            });
        }

        return mixed;
    }

    private Tensor Gathered(Tensor x, Packing.Bucket bucket)
    {
        var (y, count) = (x.index_select(0, bucket.Rows!), x.shape[0]);
        if (_tape.Tracks(x))
            _tape.Record([y], [],
                (_, gradients) => _tape.Add(x, Scattered(gradients[0]!.index_select(0, bucket.Places!), bucket.Tokens!, count)));
        return y;
    }

    // Padding between buckets stays zero.
    private Tensor Joined(Tensor[] blocks)
    {
        var y = zeros([(long)_packing.Members * _packing.RowsPerMember, blocks[0].shape[1]], blocks[0].dtype, blocks[0].device);
        foreach (var (block, bucket) in blocks.Zip(_packing.Buckets))
            y.index_copy_(0, bucket.Tokens!, block.index_select(0, bucket.Places!));
        if (blocks.Any(_tape.Tracks))
        {
            _tape.Record([y], [], (_, gradients) =>
            {
                foreach (var (block, bucket) in blocks.Zip(_packing.Buckets))
                    _tape.Add(block,
                        Scattered(gradients[0]!.index_select(0, bucket.Tokens!), bucket.Places!, (long)bucket.Sequences * bucket.Length));
            });
        }

        return y;
    }

    // Zeros but for some rows.
    private static Tensor Scattered(Tensor rows, Tensor places, long count) =>
        zeros([count, rows.shape[1]], rows.dtype, rows.device).index_copy_(0, places, rows);
}

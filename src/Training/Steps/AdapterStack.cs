using System.Runtime.InteropServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>What a member brings to a stack.</summary>
/// <param name="Values">Every tensor of its adapter.</param>
/// <param name="Twins">Its initial A and B where the start is anchored.</param>
internal sealed record StackMember(AdapterState Values, AdapterState? Twins);

/// <summary>
/// The adapters of a group side by side: a row for each member, so that one operation on a buffer serves all members and all
/// tensors. Tensors that train lie in one buffer for each scope, with a gradient buffer beside it. Its tensors live in the dispose
/// scope in which it is made.
/// </summary>
internal sealed class AdapterStack
{
    private readonly Dictionary<string, Column> _columns = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Tensor> _frozen = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Tensor>? _twins;
    private readonly IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? _masks;

    /// <param name="layout">Of every member.</param>
    /// <param name="members">At least one.</param>
    /// <param name="masks">Each member's by module; null without dropout.</param>
    /// <param name="device">Where the tensors go.</param>
    /// <param name="model">Whose weights a decomposed adapter brings to unit norm; else not looked at.</param>
    /// <param name="dtype">Of the tensors.</param>
    /// <exception cref="BadInputException">Nothing trains.</exception>
    public AdapterStack(
        AdapterLayout layout, IReadOnlyList<StackMember> members, IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? masks, Device device, CausalLanguageModel? model, ScalarType dtype = ScalarType.Float32)
    {
        (Layout, _masks) = (layout, masks);
        Blocks = [.. layout.Tensors.Where(static tensor => tensor.Trains).GroupBy(static tensor => tensor.Scope).Select(group => new StackBlock(group.Key, [.. group], members, device, dtype))];
        if (Blocks.Count == 0) throw new BadInputException($"adapter: no tensor of {layout.Spec.Method} trains; set trainsA or trainsB");
        foreach (var block in Blocks)
        {
            var offset = 0L;
            foreach (var info in block.Tensors)
            {
                _columns.Add(info.Name, new(block, offset, info));
                offset += NamedArray.Count(info.Shape);
            }
        }

        foreach (var info in layout.Tensors.Where(static tensor => !tensor.Trains))
            _frozen.Add(info.Name, Stacked([.. members.Select(member => member.Values[info.Name])], device, dtype));
        if (members[0].Twins is { } twins)
        {
            _twins = new(StringComparer.Ordinal);
            foreach (var name in twins.Keys) _twins.Add(name, Stacked([.. members.Select(member => member.Twins![name])], device, dtype));
        }

        Members = [.. Enumerable.Range(0, members.Count).Select(member => LowRankAdapter.Over(
            layout, info => OfMember(info, member), _twins is null ? null : name => Row(_twins[name], member), model))];
        // Hundreds of views for each member; what is only on the way to one is let go.
        using var scope = NewDisposeScope();
        foreach (var (member, adapter) in Members.Index())
        {
            foreach (var (info, value) in adapter.Parameters.Where(static parameter => parameter.Info.Trains)) value.grad = _columns[info.Name].Gradient(member, 1)[0];
        }
    }

    /// <summary>The tensors and their places.</summary>
    public AdapterLayout Layout { get; }

    /// <summary>The members' adapters, over the same memory; their parameters' gradients are the stack's.</summary>
    public IReadOnlyList<LowRankAdapter> Members { get; }

    /// <summary>What trains, by scope.</summary>
    public IReadOnlyList<StackBlock> Blocks { get; }

    /// <summary>Some members that lie next to each other: views in the caller's dispose scope.</summary>
    public StackSlice Slice(int first, int count)
    {
        using var inference = no_grad();
        return new(this, first, count, LayersOf(first, count));
    }

    /// <summary>Clears the gradients before a step; backward passes add to them.</summary>
    public void ZeroGradients()
    {
        foreach (var block in Blocks) block.Gradient.zero_();
    }

    internal IReadOnlyDictionary<string, LayerMasks>? MasksOf(int member) => _masks?[member];

    // A decomposed layer and an embedding are not a low rank beside a product.
    private Dictionary<string, StackedLayer> LayersOf(int first, int count) => Layout.Targets
        .Where(target => !Layout.Spec.Decomposed && target.Layer.Kind is LayerKind.Linear or LayerKind.Conv1D)
        .ToDictionary(static target => target.Module, target =>
        {
            StackedLayer.Trained? Of(string role)
            {
                var name = AdapterTensor.NameOf(target.Module, role);
                if (_columns.TryGetValue(name, out var column)) return new(column.Value(first, count), column.Gradient(first, count));
                return _frozen.TryGetValue(name, out var value) ? new(Rows(value, first, count, role), null) : null;
            }

            Tensor Twin(string role) => Rows(_twins![AdapterTensor.NameOf(target.Module, role)], first, count, role);
            (Tensor, Tensor)? twins = _twins is null ? null : (Twin(Roles.A), Twin(Roles.B));
            return new StackedLayer(Layout.Spec, target.Scaling, Of(Roles.A)!, Of(Roles.B)!, Of(Roles.Router), twins);
        }, StringComparer.Ordinal);

    private Tensor OfMember(AdapterTensor info, int member)
    {
        if (!_columns.TryGetValue(info.Name, out var column)) return Row(_frozen[info.Name], member);
        using var scope = NewDisposeScope();
        return column.Value(member, 1)[0].detach().MoveToOuterDisposeScope();
    }

    private static Tensor Row(Tensor stacked, int member) => stacked[stacked.shape[0] == 1 ? 0 : member];

    // A that all have in common is one product for all; heads that they have in common still see each member's own rows.
    private static Tensor Rows(Tensor stacked, int first, int count, string role) => stacked.shape[0] > 1
        ? stacked.narrow(0, first, count)
        : role == Roles.B ? stacked.expand(count, -1, -1, -1) : stacked;

    // What all members have in common lies there once.
    private static Tensor Stacked(IReadOnlyList<NamedArray> arrays, Device device, ScalarType dtype)
    {
        var distinct = arrays.All(array => array.Data.AsSpan().SequenceEqual(arrays[0].Data)) ? arrays.Take(1) : arrays;
        return stack([.. distinct.Select(array => LowRankAdapter.OnDevice(array, device).to(dtype))]);
    }

    private sealed record Column(StackBlock Block, long Offset, AdapterTensor Info)
    {
        public Tensor Value(int first, int count) => View(Block.Value, first, count);

        public Tensor Gradient(int first, int count) => View(Block.Gradient, first, count);

        private Tensor View(Tensor block, int first, int count)
        {
            using var scope = NewDisposeScope();
            return block.narrow(0, first, count).narrow(1, Offset, NamedArray.Count(Info.Shape)).view([count, .. Info.Shape])
                .MoveToOuterDisposeScope();
        }
    }
}

/// <summary>The tensors of one scope that train, of all members: <c>[G, P]</c>.</summary>
internal sealed class StackBlock
{
    public StackBlock(Scope scope, IReadOnlyList<AdapterTensor> tensors, IReadOnlyList<StackMember> members, Device device, ScalarType dtype)
    {
        // Those of one role next to each other.
        var roles = tensors.Select(static tensor => tensor.Role.Name).Distinct(StringComparer.Ordinal).ToList();
        (Scope, Tensors) = (scope, [.. tensors.OrderBy(tensor => roles.IndexOf(tensor.Role.Name))]);
        Value = Flat([.. members.Select(static member => member.Values)], "", device, dtype);
        Gradient = zeros_like(Value);
    }

    public Scope Scope { get; }

    public IReadOnlyList<AdapterTensor> Tensors { get; }

    /// <summary><c>[G, P]</c>.</summary>
    public Tensor Value { get; }

    /// <summary>As <see cref="Value"/>.</summary>
    public Tensor Gradient { get; }

    /// <summary>A row for each state: its tensors in the block's order, 0 where a state lacks one.</summary>
    /// <param name="states">One for each member, shapes already checked.</param>
    /// <param name="suffix">After each tensor's name.</param>
    /// <param name="device">Of the result.</param>
    /// <param name="dtype">Of the result.</param>
    /// <returns><c>[G, P]</c>.</returns>
    public Tensor Flat(IReadOnlyList<AdapterState> states, string suffix, Device device, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var flat = zeros([states.Count, Tensors.Sum(static tensor => NamedArray.Count(tensor.Shape))], ScalarType.Float32, CPU);
        foreach (var (member, state) in states.Index())
        {
            var row = MemoryMarshal.Cast<byte, float>(flat[member].bytes);
            foreach (var info in Tensors)
            {
                if (state.TryGetValue(info.Name + suffix, out var array)) array.Data.CopyTo(row);
                row = row[(int)NamedArray.Count(info.Shape)..];
            }
        }

        return flat.to(dtype).to(device).MoveToOuterDisposeScope();
    }

    /// <summary>A member's row of a buffer as the tensors in it, by name and <paramref name="suffix"/>.</summary>
    public IEnumerable<KeyValuePair<string, NamedArray>> Cut(Tensor buffer, int member, string suffix)
    {
        var values = LowRankAdapter.Values(buffer[member].to(ScalarType.Float32));
        var offset = 0;
        foreach (var info in Tensors)
        {
            var length = (int)NamedArray.Count(info.Shape);
            yield return new(info.Name + suffix, new(info.Shape, values[offset..(offset + length)]));
            offset += length;
        }
    }
}

/// <summary>Some members of a stack, as a pass over the base sees them.</summary>
internal sealed class StackSlice(AdapterStack stack, int first, int count, IReadOnlyDictionary<string, StackedLayer> layers)
{
    private List<(LayerMasks Masks, Tensor[] States)>? _masksBefore;

    /// <summary>Whether a module has an adapter.</summary>
    public bool IsAdapted(string module) => stack.Members[0].Layers.ContainsKey(module);

    /// <summary>The batched adapter of a module; null where it has none, or one that is no low rank beside a product.</summary>
    public StackedLayer? Low(string module) => layers.GetValueOrDefault(module);

    /// <summary>One member's adapter of a module.</summary>
    public IAdaptedLayer Layer(int member, string module) => stack.Members[first + member].Layers[module];

    /// <summary>One member's masks of a module, from which some will be drawn now; null without dropout.</summary>
    public LayerMasks? MasksFor(int member, string module)
    {
        if (stack.MasksOf(first + member)?[module] is not { } masks) return null;
        _masksBefore?.Add((masks, masks.States()));
        return masks;
    }

    /// <summary>Runs a layer and says which masks it drew from, and their states before; those are the caller's to dispose.</summary>
    public IReadOnlyList<(LayerMasks Masks, Tensor[] States)> DrawnBy(Action layer)
    {
        _masksBefore = [];
        layer();
        var drawn = _masksBefore;
        _masksBefore = null;
        return drawn;
    }

    /// <summary>Every member's masks of a module; null without dropout.</summary>
    public IReadOnlyList<LayerMasks>? MasksFor(string module) => stack.MasksOf(first) is null ? null : [.. Enumerable.Range(0, count).Select(member => MasksFor(member, module)!)];
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// The adapters of a group side by side: a row for each member, so that one operation on a buffer serves all members and all
/// tensors. Tensors that train lie in one buffer for each role, with a gradient buffer beside it; who owns a role changes no place in
/// them, and so no bit. Its tensors live in the dispose scope in which it is made.
/// </summary>
internal sealed class AdapterStack
{
    private readonly Dictionary<string, Column> _columns = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Tensor> _frozen = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Tensor> _start = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Tensor> _counts = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, Tensor> _firstChoices = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? _masks;
    private readonly List<StackedTarget> _targets = [];
    private readonly int _members;
    private readonly IReadOnlyList<int> _tasks;

    /// <param name="members">The values that each begins with; at least one, all of one layout.</param>
    /// <param name="masks">Each member's by module; null without dropout.</param>
    /// <param name="device">Where the tensors go.</param>
    /// <param name="model">Asked for the weights of a method that looks at them; else not looked at.</param>
    /// <param name="dtype">Of the tensors.</param>
    /// <param name="tasks">The number of each member's task, in the ordinal order of the plan's; null for one task.</param>
    /// <exception cref="BadInputException">Nothing trains.</exception>
    public AdapterStack(
        IReadOnlyList<ClientAdapter> members, IReadOnlyList<IReadOnlyDictionary<string, LayerMasks>>? masks, Device device,
        CausalLanguageModel? model, ScalarType dtype = ScalarType.Float32, IReadOnlyList<int>? tasks = null)
    {
        (Layout, _masks, _members) = (members[0].Layout, masks, members.Count);
        _tasks = tasks ?? [.. members.Select(static _ => 0)];
        Blocks =
        [
            .. Layout.Tensors.Where(static tensor => tensor.Trains).GroupBy(static tensor => tensor.Role.Name, StringComparer.Ordinal)
                .Select(role => new StackBlock([.. role], [.. members.Select(static member => member.Values)], device, dtype)),
        ];
        if (Blocks.Count == 0)
            throw new BadInputException($"adapter: no tensor of {Layout.Spec.Method} trains; set trainsA or trainsB");
        foreach (var block in Blocks)
        {
            var offset = 0L;
            foreach (var info in block.Tensors)
            {
                _columns.Add(info.Name, new(block, offset, info));
                offset += NamedArray.Count(info.Shape);
            }
        }

        foreach (var info in Layout.Tensors.Where(info => !_columns.ContainsKey(info.Name)))
            _frozen.Add(info.Name, Stacked([.. members.Select(member => member.Values[info.Name])], device, dtype, info.Role.IsCounted));
        foreach (var info in Layout.Tensors.Where(static info => info.Role.IsCounted))
            _counts.Add(info.Name, zeros_like(_frozen[info.Name]));
        if (Layout.Spec.Routing is Routing.TopK)
        {
            foreach (var target in Layout.Targets)
                _firstChoices.Add(target.Module, zeros([_members, Layout.Spec.Heads], ScalarType.Float32, device));
        }

        foreach (var info in Layout.Tensors.Where(Layout.HasStart))
            _start.Add(info.Name, Stacked([.. members.Select(member => member.Start![info.Name])], device, dtype));
        foreach (var target in Layout.Targets) _targets.Add(TargetOf(target, model));
    }

    /// <summary>The tensors and their places.</summary>
    public AdapterLayout Layout { get; }

    /// <summary>What trains, by role, in the method's order.</summary>
    public IReadOnlyList<StackBlock> Blocks { get; }

    /// <summary>Terms of the objective that look at features.</summary>
    public IReadOnlyList<ObjectiveTerm> Terms { get; set; } = [];

    /// <summary>A tensor of a layer, of the first members: views in the caller's dispose scope.</summary>
    public Trained TensorsOf(AdapterTarget target, string role, int members) =>
        TensorOf(AdapterTensor.NameOf(target.Module, role), 0, members);

    /// <summary>A member's adapter over the stack's memory; views in the caller's dispose scope.</summary>
    public PlacedAdapter Member(int member) => PlacedAdapter.Over(
        Layout, info => TensorOf(info.Name, member, 1).Value[0], _start.Count == 0 ? null : name => Rows(_start[name], member, 1)[0]);

    /// <summary>
    /// The gradient of a member's tensor, a view of the stack's in the caller's dispose scope; null where it does not train.
    /// </summary>
    public Tensor? GradientOf(int member, string name) => TensorOf(name, member, 1).Gradient?[0];

    /// <summary>Some members that lie next to each other: views in the caller's dispose scope.</summary>
    public StackSlice Slice(int first, int count)
    {
        using var inference = no_grad();
        return new(
            _targets.ToDictionary(static target => target.Target.Module, target => target.Slice(this, first, count),
                StringComparer.Ordinal),
            _masks is null ? null : [.. _masks.Skip(first).Take(count)]);
    }

    /// <summary>Clears the gradients and counts before a step; passes add to them.</summary>
    public void ZeroGradients()
    {
        foreach (var block in Blocks) block.Gradient.zero_();
        foreach (var counts in _counts.Values) counts.zero_();
    }

    /// <summary>Moves what moves by counts, at the end of a step.</summary>
    /// <param name="active">The first members of the stack, which have taken the step; the others stay as they are.</param>
    public void MoveByCounts(int active)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        foreach (var target in Layout.Targets)
        {
            foreach (var role in Layout.RolesOn(target).Where(static role => role.IsCounted).Select(static role => role.Name))
            {
                var name = AdapterTensor.NameOf(target.Module, role);
                var (value, counts) = (_frozen[name].narrow(0, 0, active), _counts[name].narrow(0, 0, active));
                value.copy_(Layout.MethodOf(target).MovedByCounts(role, value, counts));
            }
        }
    }

    // What the method makes of all members' tensors. What it hands on as it is stays a view of them; what it computes of tensors that do
    // not train is computed here, once.
    private StackedTarget TargetOf(AdapterTarget target, CausalLanguageModel? model)
    {
        using var scope = NewDisposeScope();
        var (tensors, leaves) = (Everyone(target), new Dictionary<string, Tensor>(StringComparer.Ordinal));
        Tensor Leaf(string role)
        {
            if (leaves.TryGetValue(role, out var known)) return known;
            var (value, gradient) = tensors(role);
            return leaves[role] = gradient is null ? value : Tape.Alias(value).requires_grad_();
        }

        Factors factors;
        using (enable_grad()) factors = Layout.MethodOf(target).Factors(new LayerTensors(Leaf, StartOf(target, 0, _members)));
        var method = Layout.MethodOf(target);
        var norms = method.HasColumns
            ? NormsOf(target, model ?? throw new ArgumentNullException(nameof(model)))
            : ((FrozenLinear, Tensor)?)null;
        return new(
            target, norms,
            [.. factors.Down.Select(slot => new DownSource(slot.Name, slot.IsDropped, Source(slot.Rows)))],
            [.. factors.Up.Select(Source)]);

        WideSource Source(Tensor made) => leaves.FirstOrDefault(leaf => ReferenceEquals(leaf.Value, made)).Key is { } role
            ? new(role, null, made.shape)
            : new(null, made.requires_grad ? null : made.detach().MoveToOuterDisposeScope(), made.shape);
    }

    private Tensor CountsOf(AdapterTarget target, string role) =>
        role == MixTraining.FirstChoices ? _firstChoices[target.Module] : _counts[AdapterTensor.NameOf(target.Module, role)];

    // A mix is asked for more than its result only where a method has use for it.
    private bool AsksMixes => Layout.Spec.Routing is Routing.TopK || Layout.Spec.Objectives.OfType<Objective.GateLoss>().Any()
        || Layout.Roles.Any(static role => role.IsCounted);

    /// <summary>How a member's gates have chosen since the stack was made; null for a method without one that chooses heads.</summary>
    public GateUse? GateUseOf(int member)
    {
        if (_firstChoices.Count == 0) return null;
        using var scope = NewDisposeScope();
        var uses = _firstChoices.Select(layer =>
        {
            var counts = layer.Value[member].to(ScalarType.Float64).cpu().data<double>().ToArray();
            var head = Array.IndexOf(counts, counts.Max());
            return (Layer: layer.Key, Head: head, Share: counts.Sum() > 0 ? counts[head] / counts.Sum() : 0);
        }).ToList();
        var (layer, most, share) = uses.MaxBy(static use => use.Share);
        return new(layer, most, share, uses.Count(static use => use.Share >= GateUse.Most), uses.Count);
    }

    // Squared norms of the weight's rows, once.
    private (FrozenLinear Layer, Tensor Squares) NormsOf(AdapterTarget target, CausalLanguageModel model)
    {
        using var inference = no_grad();
        var layer = model.Frozen(target.Layer);
        return (layer, layer.Rows(Blocks[0].Value.dtype).Squared().sum([1]).MoveToOuterDisposeScope());
    }

    private Func<string, Trained> Everyone(AdapterTarget target) =>
        role => TensorOf(AdapterTensor.NameOf(target.Module, role), 0, _members);

    private Func<string, Tensor?> StartOf(AdapterTarget target, int first, int count) => role =>
        _start.GetValueOrDefault(AdapterTensor.NameOf(target.Module, role)) is { } start ? Rows(start, first, count) : null;

    private Trained TensorOf(string name, int first, int count) => _columns.TryGetValue(name, out var column)
        ? new(column.Value(first, count), column.Gradient(first, count))
        : new(Rows(_frozen[name], first, count), null);

    // What all members have in common lies there once.
    private static Tensor Rows(Tensor stacked, int first, int count) => stacked.shape[0] == 1 ? stacked : stacked.narrow(0, first, count);

    private static Tensor Stacked(IReadOnlyList<NamedArray> arrays, Device device, ScalarType dtype, bool isEachOwn = false)
    {
        var isCommon = !isEachOwn && arrays.All(array => array.Data.AsSpan().SequenceEqual(arrays[0].Data));
        var distinct = isCommon ? arrays.Take(1) : arrays;
        return stack([.. distinct.Select(array => TensorData.OnDevice(array, device).to(dtype))]);
    }

    /// <summary>A layer's wide sides for all members.</summary>
    private sealed record StackedTarget(
        AdapterTarget Target, (FrozenLinear Layer, Tensor Squares)? Norms, IReadOnlyList<DownSource> Down,
        IReadOnlyList<WideSource> Up)
    {
        public BottleneckLayer Slice(AdapterStack stack, int first, int count)
        {
            // All of them now, in the pass's scope: a layer's own is over before its backward.
            var tensors = stack.Layout.RolesOn(Target).ToDictionary(
                static role => role.Name, role => stack.TensorOf(AdapterTensor.NameOf(Target.Module, role.Name), first, count),
                StringComparer.Ordinal);
            Wide Of(WideSource source) => source switch
            {
                { Role: { } role } => new(tensors[role].Value, tensors[role].Gradient),
                { Fixed: { } made } => new(Rows(made, first, count), null),
                _ => new(empty(source.Shape, device: META), null, IsOnTape: true), // known by its shape until a pass computes it
            };
            return new(
                stack.Layout.MethodOf(Target), Target, stack.Layout.Spec.Dropout.P == 0 ? DropoutSite.None : stack.Layout.Spec.Dropout.Site,
                new([.. Down.Select(side => new DownSide(side.Slot, side.IsDropped, Of(side.Rows)))], [.. Up.Select(Of)]),
                role => tensors[role], stack.StartOf(Target, first, count), Norms,
                stack.AsksMixes ? () => new MixTraining([.. stack._tasks.Skip(first).Take(count)], stack.Layout.Targets.Count) : null,
                (role, counts) => stack.CountsOf(Target, role).narrow(0, first, count).add_(counts, Living.One),
                [.. stack.Terms.Select(term => term.On(Target, first, count)).OfType<IFeatureTerm>()]);
        }
    }

    /// <summary>
    /// Where a wide side comes from: a tensor that is handed on, one that was made once, or neither: it is made in each pass.
    /// </summary>
    private sealed record WideSource(string? Role, Tensor? Fixed, long[] Shape);

    private sealed record DownSource(string Slot, bool IsDropped, WideSource Rows);

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

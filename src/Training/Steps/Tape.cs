using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// What a forward pass keeps for its backward pass, written by hand where libtorch's autograd would keep or compute more than is
/// needed. Values are known by the object that holds them. An entry lives until its own backward has run, so memory falls as the
/// gradient goes down; what no adapter is above of has no entry.
/// </summary>
internal sealed class Tape(Workspace workspace) : IDisposable
{
    // Up to here the calls of a product for each member cost more than a result of its own and one more sum.
    private const long FewRows = 128;
    private const long ElementsBeside = 1 << 18;

    private readonly List<Entry> _entries = [];
    private readonly HashSet<Tensor> _tracked = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<Tensor, Gradient> _gradients = new(ReferenceEqualityComparer.Instance);

    /// <summary>Operations kept, or, while nothing is kept, that would have been.</summary>
    public int Count { get; private set; }

    /// <summary>Counts operations and forgets them.</summary>
    public bool IsDry { get; set; }

    /// <summary>What is computed on it was computed before, without being kept.</summary>
    public bool IsAgain { get; init; }

    /// <summary>Whether a gradient is wanted at a value.</summary>
    public bool Tracks(Tensor value) => _tracked.Contains(value);

    /// <summary>Memory for a result or a gradient, with anything in it: <c>[rows, width]</c>.</summary>
    public Tensor Take(long rows, long width) => workspace.Take(rows, width);

    /// <summary>Such memory in the shape of another tensor.</summary>
    public Tensor Room(Tensor x) => Take(x.numel() / x.shape[^1], x.shape[^1]).view(x.shape);

    /// <summary>A copy in such memory.</summary>
    public Tensor Copy(Tensor x) => Room(x).copy_(x);

    /// <summary>Adds an operation.</summary>
    /// <param name="outputs">Its results, which are then tracked.</param>
    /// <param name="saved">What its backward needs; may be disposed by the caller.</param>
    /// <param name="backward">
    /// Gets the saved tensors and the gradient of each output, null where none arrived; calls <see cref="Add"/>.
    /// </param>
    public void Record(Tensor[] outputs, Tensor?[] saved, Action<Tensor?[], Tensor?[]> backward) =>
        Keep(outputs, () => new(outputs, [.. saved.Select(static tensor => tensor?.detach().DetachFromDisposeScope())], backward));

    /// <summary>Keeps values until the backward of all that is recorded from now on has run.</summary>
    public void Hold(IReadOnlyList<Tensor> values)
    {
        if (IsDry) return;
        foreach (var value in values) value.DetachFromDisposeScope();
        _entries.Add(new([], [.. values], static (_, _) => { }));
    }

    /// <summary>A gradient is wanted at a value that no operation of this tape gave.</summary>
    public void Watch(Tensor value) => _tracked.Add(value);

    /// <summary>The gradient that has arrived at a watched value, the caller's to dispose; null where none has.</summary>
    public Tensor? GradientOf(Tensor value) => Collect(value);

    /// <summary>A gradient has arrived that no operation has read yet.</summary>
    public bool HasGradients => _gradients.Count > 0;

    /// <summary>
    /// A part of the pass begins, which reads nothing of the parts before it but its input: when its backward has run, what it took is
    /// given back, and all gradients but those that have arrived before it.
    /// </summary>
    public void Frame(Workspace.Mark mark) => Record([], [], (_, _) =>
    {
        var values = _gradients.Keys.ToList();
        var carried = workspace.EndLayer(mark, [.. values.Select(value => _gradients[value].Value)]);
        foreach (var (value, gradient) in values.Zip(carried)) Put(value, gradient, isShared: false);
    });

    /// <summary>An operation whose backward libtorch's autograd computes, over a graph of its own.</summary>
    /// <param name="inputs">Values of the tape.</param>
    /// <param name="work">From detached inputs to outputs; it may hand an input on, or give one tensor twice.</param>
    public Tensor[] Local(Tensor[] inputs, Func<Tensor[], Tensor[]> work) =>
        inputs.Any(Tracks) ? Derive(inputs, null, (values, _) => work(values)) : Separate(work(inputs), inputs);

    /// <summary>The same with tensors that train, to whose gradients is added.</summary>
    /// <param name="inputs">Values of the tape; may be none.</param>
    /// <param name="trained">Gives a tensor by its role; null where none can be asked for.</param>
    /// <param name="work">From detached inputs and leaves to outputs.</param>
    /// <param name="penalties">
    /// What the work adds to the loss, asked for after it: their gradient is 1. A dry tape asks for none, so that a layer that is computed
    /// again adds them once.
    /// </param>
    public Tensor[] Derive(
        Tensor[] inputs, Func<string, Trained>? trained, Func<Tensor[], Leaves, Tensor[]> work,
        Func<IReadOnlyList<Tensor>>? penalties = null)
    {
        var own = new Leaves(trained, isGraph: !IsDry);
        if (IsDry)
        {
            var dry = Separate(work(inputs, own), [.. inputs, .. own.Asked]);
            if (inputs.Any(Tracks) || own.Train.Count > 0)
                Keep(dry, static () => throw new InvalidOperationException("a dry tape keeps nothing"));
            return dry;
        }

        using var recording = enable_grad();
        Tensor[] leaves = [.. inputs.Select(input => Alias(input).requires_grad_(Tracks(input)))];
        var graph = work(leaves, own);
        Tensor[] outputs = Separate([.. graph.Select(static output => output.detach())], [.. leaves, .. own.Asked]);
        Tensor[] added = [.. (penalties?.Invoke() ?? []).Where(static penalty => penalty.requires_grad)];
        if (added.Length == 0 && !graph.Any(static output => output.requires_grad)) return outputs;
        // The graph must outlive the layer's scope, and a detached copy would not carry it.
        foreach (var tensor in graph.Concat(added).Concat(leaves).Concat(own.Train.Select(static leaf => leaf.Leaf)))
            tensor.DetachFromDisposeScope();
        Tensor?[] kept = [.. graph, .. leaves, .. own.Train.Select(static leaf => leaf.Leaf), .. added];
        Keep(outputs, () => new(outputs, kept, (saved, gradients) =>
        {
            var reached = Enumerable.Range(0, graph.Length).Where(i => gradients[i] is not null && saved[i]!.requires_grad).ToList();
            if (reached.Count == 0 && added.Length == 0) return;
            autograd.backward(
                [.. reached.Select(i => saved[i]!), .. added],
                [.. reached.Select(i => gradients[i]!), .. added.Select(static penalty => ones_like(penalty))]);
            foreach (var (input, leaf) in inputs.Zip(saved.Skip(graph.Length)))
            {
                if (leaf!.requires_grad && leaf.grad is { } gradient) Add(input, gradient.detach());
            }

            foreach (var (leaf, of) in own.Train)
            {
                if (leaf.grad is { } gradient) of.Gradient!.add_(gradient, Living.One);
            }
        }, IsPenalized: added.Length > 0));
        return outputs;
    }

    /// <summary>A number for each column of each member's rows: y f.</summary>
    /// <param name="y"><c>[G m, D]</c>.</param>
    /// <param name="factor"><c>[G, D]</c>.</param>
    public Tensor Columns(Tensor y, Tensor factor)
    {
        long[] shape = y.shape, byMember = [factor.shape[0], -1, factor.shape[1]];
        var result = Room(y);
        using (NewDisposeScope()) result.view(byMember).copy_(y.view(byMember)).mul_(factor.unsqueeze(1));
        if (!Tracks(y) && !Tracks(factor)) return result;
        Record([result], [Tracks(factor) ? y : null, factor], (saved, gradients) =>
        {
            // Nobody reads y any more: its memory takes a product. The gradient may be another value's too.
            var gradient = gradients[0]!.reshape(byMember);
            if (saved[0] is { } given) Add(factor, given.view(byMember).mul_(gradient).sum([1]));
            if (Tracks(y)) Add(y, Copy(gradient).mul_(saved[1]!.unsqueeze(1)).view(shape));
        });
        return result;
    }

    /// <summary>Adds to the gradient of a value; nothing where none is wanted.</summary>
    /// <param name="value">The value.</param>
    /// <param name="gradient">In the value's shape.</param>
    /// <param name="isShared">Somebody else holds the same memory, so that it must not be written.</param>
    public void Add(Tensor value, Tensor gradient, bool isShared = false)
    {
        if (!Tracks(value)) return;
        if (!_gradients.TryGetValue(value, out var sum)) Put(value, gradient.detach(), isShared);
        else if (sum.IsShared) Put(value, Copy(sum.Value).add_(gradient, Living.One), isShared: false);
        else sum.Value.add_(gradient, Living.One);
    }

    /// <summary>Adds to the gradient of a value by an operation that adds as it computes.</summary>
    /// <param name="value">The value, which may be disposed.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="work">Gets what is there, null for nothing, and where the sum goes, which may be the same tensor.</param>
    public void AddBy(Tensor value, long[] shape, Action<Tensor?, Tensor> work)
    {
        if (!Tracks(value)) return;
        var sum = _gradients.GetValueOrDefault(value);
        if (sum is { IsShared: false })
        {
            work(sum.Value, sum.Value);
            return;
        }

        var result = Take(shape[..^1].Aggregate(1L, static (product, size) => product * size), shape[^1]).view(shape);
        work(sum?.Value, result);
        Put(value, result, isShared: false);
    }

    /// <summary>Adds a product to the gradient of a value, into the same memory where there is some already.</summary>
    /// <param name="value"><c>[G m, D]</c>.</param>
    /// <param name="left"><c>[G m, K]</c>.</param>
    /// <param name="right"><c>[K, D]</c>, or <c>[G, K, D]</c> for the rows of each member.</param>
    public void AddProduct(Tensor value, Tensor left, Tensor right) =>
        AddInto(value, left.shape[0], right.shape[^1], (target, keeps) => MultiplyInto(target, left, right, keeps));

    /// <summary>Adds to the gradient of a value by an operation that writes, or adds to what is there.</summary>
    /// <param name="value"><c>[rows, width]</c>.</param>
    /// <param name="rows">Of the value, which may be disposed.</param>
    /// <param name="width">Likewise.</param>
    /// <param name="work">Gets where the sum goes, and whether something is there to add to.</param>
    public void AddInto(Tensor value, long rows, long width, Action<Tensor, bool> work)
    {
        if (!Tracks(value)) return;
        var isFirst = !_gradients.TryGetValue(value, out var sum);
        if (isFirst) Put(value, Take(rows, width), isShared: false);
        else if (sum!.IsShared) Put(value, Copy(sum.Value), isShared: false);
        work(_gradients[value].Value, !isFirst);
    }

    /// <summary>target = left right, or plus that.</summary>
    /// <param name="target"><c>[G m, D]</c>.</param>
    /// <param name="left"><c>[G m, K]</c>.</param>
    /// <param name="right"><c>[K, D]</c>, or <c>[G, K, D]</c> for the rows of each member.</param>
    /// <param name="keeps">Adds to what is there.</param>
    public static void MultiplyInto(Tensor target, Tensor left, Tensor right, bool keeps)
    {
        if (right.dim() == 2) right = right.unsqueeze(0);
        var (members, beta) = (right.shape[0], keeps ? 1 : 0);
        var rows = left.shape[0] / members;
        if (members > 1 && rows <= FewRows)
        {
            // Some members at a time, so that what a product needs beside its target does not grow with the group.
            var step = Math.Max(1, ElementsBeside / (rows * target.shape[1]));
            var (targets, lefts) = (target.view(members, rows, -1), left.view(members, rows, -1));
            for (var first = 0L; first < members; first += step)
            {
                using var scope = NewDisposeScope();
                var count = Math.Min(step, members - first);
                var product = lefts.narrow(0, first, count).bmm(right.narrow(0, first, count));
                if (keeps) targets.narrow(0, first, count).add_(product, Living.One);
                else targets.narrow(0, first, count).copy_(product);
            }

            return;
        }

        for (var member = 0L; member < members; member++)
            target.narrow(0, member * rows, rows).addmm_(left.narrow(0, member * rows, rows), right[member], beta, 1);
    }

    /// <summary>Runs every entry, the last first, and forgets it.</summary>
    /// <param name="output">A value.</param>
    /// <param name="gradient">Its gradient.</param>
    public void Backward(Tensor output, Tensor gradient)
    {
        using var inference = no_grad();
        workspace.IsBackward = true;
        Add(output, gradient, isShared: true);
        while (_entries.Count > 0)
        {
            var entry = _entries[^1];
            _entries.RemoveAt(_entries.Count - 1);
            using var scope = NewDisposeScope();
            var gradients = entry.Outputs.Select(Collect).ToArray();
            if (entry.IsPenalized || gradients.Length == 0 || Array.Exists(gradients, static gradient => gradient is not null))
                entry.Backward(entry.Saved, gradients);
            foreach (var taken in gradients) taken?.Dispose();
            entry.Dispose();
        }
    }

    public void Dispose()
    {
        _entries.ForEach(static entry => entry.Dispose());
        foreach (var gradient in _gradients.Values) gradient.Value.Dispose();
        _entries.Clear();
        _gradients.Clear();
        _tracked.Clear();
    }

    /// <summary>
    /// The same memory with a version count of its own: libtorch counts writes for a whole chunk, and the next layer's look like ours.
    /// </summary>
    internal static Tensor Alias(Tensor x)
    {
        using var inference = no_grad();
        return empty([0], x.dtype, x.device).set_(x);
    }

    // Values are known by their objects and written in place, so a result is neither an input, a tensor that was asked for, nor another
    // result, nor a part of one.
    private static Tensor[] Separate(Tensor[] results, Tensor[] inputs)
    {
        var taken = inputs.Select(MemoryOf).ToHashSet();
        return [.. results.Select(result => taken.Add(MemoryOf(result)) ? result : result.clone())];
    }

    private static IntPtr MemoryOf(Tensor x)
    {
        if (x.dtype == ScalarType.Float64)
        {
            using var doubles = x.storage<double>();
            return doubles.data_ptr();
        }

        using var floats = x.storage<float>();
        return floats.data_ptr();
    }

    private void Put(Tensor value, Tensor gradient, bool isShared)
    {
        if (_gradients.Remove(value, out var before)) before.Value.Dispose();
        _gradients.Add(value, new(gradient.DetachFromDisposeScope(), isShared));
    }

    private void Keep(Tensor[] outputs, Func<Entry> entry)
    {
        Count++;
        foreach (var output in outputs) _tracked.Add(output);
        if (!IsDry) _entries.Add(entry());
    }

    private Tensor? Collect(Tensor value)
    {
        _tracked.Remove(value);
        return _gradients.Remove(value, out var gradient) ? gradient.Value : null;
    }

    private sealed record Gradient(Tensor Value, bool IsShared);

    // A penalty has a gradient of its own, whatever arrives at the outputs.
    private sealed record Entry(
        Tensor[] Outputs, Tensor?[] Saved, Action<Tensor?[], Tensor?[]> Backward, bool IsPenalized = false) : IDisposable
    {
        public void Dispose()
        {
            foreach (var tensor in Saved) tensor?.Dispose();
        }
    }
}

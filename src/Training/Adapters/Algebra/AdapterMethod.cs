using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// A method's algebra on one layer, in two functions over tensors with members in front. The rest follows from them: the wide products
/// and their backward passes (<see cref="Steps.BottleneckLayer"/>), and what a static method is without a token
/// (<see cref="Bottleneck"/>). y = W0 x + b + sum over rows of Up of u, with z = Down x and u = Mix(z).
/// </summary>
internal abstract class AdapterMethod
{
    /// <summary>Its tensors on a layer, without members.</summary>
    public abstract IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target);

    /// <summary>In weight space, once a pass: what the wide input is multiplied with, and what gives the wide output.</summary>
    /// <remarks>
    /// A tensor that is handed on as it is keeps no graph, and its gradient is added in place; what is computed of tensors that train
    /// goes through libtorch's autograd.
    /// </remarks>
    public abstract Factors Factors(LayerTensors tensors);

    /// <summary>In token space, narrow: what goes up, of what came down.</summary>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="z">What came down, by slot.</param>
    /// <param name="context">What there is beside numbers.</param>
    /// <returns><c>[G, m, L]</c>, L the rows of the factors' up side, scaling included.</returns>
    public abstract Tensor Mix(LayerTensors tensors, Narrow z, MixContext context);

    /// <summary>Mix multiplies the content by the scaling and does nothing else, whatever it is given.</summary>
    public virtual bool IsPlain => false;

    /// <summary>Mix depends neither on tensors nor on tokens.</summary>
    public virtual bool IsFixed => IsPlain;

    /// <summary>Mix does not depend on tokens, so the method is one matrix beside the weight.</summary>
    public virtual bool IsStatic => true;

    /// <summary>All that it adds is multiplied with the layer's scaling; else a part of it has a scale of its own.</summary>
    public virtual bool IsScaledAlike => true;

    /// <summary>
    /// Mix looks at a sequence as a whole, so that a token's output depends on tokens behind it: no part of a text stands for the whole,
    /// neither a prompt that texts share nor what a cache holds.
    /// </summary>
    public virtual bool SeesSequences => false;

    /// <summary>Whether <see cref="Columns"/> scales the outputs.</summary>
    public virtual bool HasColumns => false;

    /// <summary>A number for each output, of the layer with its adapter but without its bias.</summary>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="norms">Norm of each row of the weight with what the method adds, without a gradient; <c>[G, D_out]</c>.</param>
    /// <returns><c>[G, D_out]</c>.</returns>
    public virtual Tensor Columns(LayerTensors tensors, Tensor norms) =>
        throw new NotSupportedException($"{GetType().Name} scales no outputs.");

    /// <summary>A tensor that moves by counts, after a step.</summary>
    /// <param name="role">Which.</param>
    /// <param name="value">As it was in the step, members in front.</param>
    /// <param name="counts">What the step's passes have counted, in its shape.</param>
    public virtual Tensor MovedByCounts(string role, Tensor value, Tensor counts) =>
        throw new NotSupportedException($"{GetType().Name} has no {role} that moves by counts.");

    /// <summary>The initial value of a tensor that no law draws.</summary>
    /// <param name="role">Which.</param>
    /// <param name="weight">The frozen weight, <c>[D_out, D_in]</c>.</param>
    public virtual Tensor FromWeight(string role, Tensor weight) =>
        throw new NotSupportedException($"{role} is not computed from a weight.");
}

/// <summary>The wide sides of a method on a layer.</summary>
/// <param name="Down">Rows that the input is multiplied with.</param>
/// <param name="Up">Heads <c>[G or 1, N, D_out, k]</c>; laid below each other, their N k columns are the L rows of the output.</param>
internal sealed record Factors(IReadOnlyList<Slot> Down, IReadOnlyList<Tensor> Up);

/// <summary>Rows that the input is multiplied with.</summary>
/// <param name="Name">What <see cref="AdapterMethod.Mix"/> finds their product by.</param>
/// <param name="Rows"><c>[G or 1, k, D_in]</c>; 1 where all members have the same.</param>
/// <param name="IsDropped">Sees the input under the plan's dropout, or its product does; a router and a frozen start do not.</param>
/// <param name="IsContent">Goes up; else it decides about what goes up.</param>
internal sealed record Slot(string Name, Tensor Rows, bool IsDropped = false, bool IsContent = true);

/// <summary>What came down: by slot <c>[G, m, 1 or masks, k]</c>, in the order of the factors' slots.</summary>
internal sealed class Narrow(IReadOnlyList<KeyValuePair<string, Tensor>> parts)
{
    public Tensor this[string slot] => Find(slot) ?? throw new KeyNotFoundException($"no slot {slot} came down");

    /// <summary>Any of them, for type and device.</summary>
    public Tensor First => parts[0].Value;

    /// <summary>What came down by the rows of a frozen start, in their order.</summary>
    public IEnumerable<Tensor> Starts => parts.Select(part => Find(Anchored.AtStart(part.Key))).OfType<Tensor>();

    /// <summary>The same with the slots of a frozen start in place of those that have one.</summary>
    public Narrow AtStart() =>
        new([.. parts.Select(part => KeyValuePair.Create(part.Key, Find(Anchored.AtStart(part.Key)) ?? part.Value))]);

    private Tensor? Find(string slot) => parts.FirstOrDefault(part => part.Key == slot).Value;
}

/// <summary>A layer's tensors by role, members in front: <c>[G or 1, ..]</c>.</summary>
/// <param name="now">A tensor as it is.</param>
/// <param name="start">A tensor as it began, where the start is kept; else null.</param>
internal sealed class LayerTensors(Func<string, Tensor> now, Func<string, Tensor?> start)
{
    public Tensor this[string role] => now(role);

    /// <summary>Every tensor that has a kept start as it began; a gate's are as they are.</summary>
    public LayerTensors AtStart() => new(role => start(role) ?? now(role), start);
}

using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>A tensor of all members and where its gradient goes.</summary>
/// <param name="Value"><c>[G or 1, ..]</c>.</param>
/// <param name="Gradient">As <paramref name="Value"/>; null where it does not train.</param>
internal sealed record Trained(Tensor Value, Tensor? Gradient);

/// <summary>A tensor on a wide side of a layer.</summary>
/// <param name="Value"><c>[G or 1, ..]</c>.</param>
/// <param name="Gradient">Where its gradient is added, as <paramref name="Value"/>; null where it does not train or is computed.</param>
/// <param name="IsOnTape">It is computed of tensors that train, and the tape has its gradient.</param>
internal sealed record Wide(Tensor Value, Tensor? Gradient, bool IsOnTape = false)
{
    /// <summary>Whether a gradient is wanted.</summary>
    public bool Trains => Gradient is not null || IsOnTape;

    /// <summary>Adds to its gradient.</summary>
    /// <param name="tape">Has it where it is computed.</param>
    /// <param name="gradient">As <see cref="Value"/>.</param>
    /// <param name="scale">Times this.</param>
    public void Add(Tape tape, Tensor gradient, double scale = 1)
    {
        if (Gradient is { } sum) sum.add_(gradient, Living.Of(scale));
        else tape.Add(Value, scale == 1 ? gradient.contiguous() : gradient.mul(Living.Of(scale)));
    }
}

/// <summary>Tensors of members as leaves of libtorch's autograd, made when they are first asked for.</summary>
/// <param name="trained">Gives a tensor by its role; null where none can be asked for.</param>
/// <param name="isGraph">A graph is kept; else values are given as they are.</param>
internal sealed class Leaves(Func<string, Trained>? trained, bool isGraph)
{
    private readonly Dictionary<string, Tensor> _asked = new(StringComparer.Ordinal);
    private readonly List<(Tensor Leaf, Trained Of)> _train = [];

    /// <summary>Those that were asked for.</summary>
    public IEnumerable<Tensor> Asked => _asked.Values;

    /// <summary>Those of them that train.</summary>
    public IReadOnlyList<(Tensor Leaf, Trained Of)> Train => _train;

    public Tensor this[string role]
    {
        get
        {
            if (_asked.TryGetValue(role, out var known)) return known;
            var tensor = trained?.Invoke(role) ?? throw new InvalidOperationException($"no tensor {role} can be asked for here");
            var leaf = tensor.Gradient is null || !isGraph ? tensor.Value : Tape.Alias(tensor.Value).requires_grad_();
            if (tensor.Gradient is not null) _train.Add((leaf, tensor));
            return _asked[role] = leaf;
        }
    }
}

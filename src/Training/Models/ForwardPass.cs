using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>The nonlinearity of an MLP.</summary>
internal enum Activation
{
    /// <summary>x sigmoid(x).</summary>
    Silu,

    /// <summary>GELU with the error function.</summary>
    Gelu,

    /// <summary>GELU in its tanh form.</summary>
    GeluTanh,
}

/// <summary>
/// One way through a model: the operations that layers are made of. A family says what is computed; the pass says how, and whether
/// and how a backward pass is kept. Hidden states are <c>[.., D]</c>, one row for each token, and belong to the dispose scope of
/// their layer.
/// </summary>
internal abstract class ForwardPass
{
    /// <summary>The rows of the pass's tokens, with the embedding's adapter, in the type that is computed with.</summary>
    public abstract Tensor Embedding(LinearShape layer, FrozenMatrix table);

    /// <summary>Adds learned positions.</summary>
    /// <param name="x"><c>[.., D]</c>.</param>
    /// <param name="table"><c>[MaxPositions, D]</c>.</param>
    public abstract Tensor AddPositions(Tensor x, Tensor table);

    /// <summary>x times a scalar tensor.</summary>
    public abstract Tensor Scale(Tensor x, Tensor factor);

    /// <summary>Linear layers of one input, each with its bias and adapter.</summary>
    public abstract Tensor[] Linear(Tensor x, FrozenLinear[] layers);

    /// <summary>A linear layer with its bias and adapter.</summary>
    public Tensor Linear(Tensor x, FrozenLinear layer) => Linear(x, [layer])[0];

    /// <summary>The residual stream takes a branch in, which is not to be used again.</summary>
    public abstract Tensor Add(Tensor x, Tensor branch);

    /// <summary>Root mean square norm over the last dimension, or over each of the <paramref name="parts"/> that it is cut into.</summary>
    /// <param name="x"><c>[.., D]</c>.</param>
    /// <param name="weight"><c>[D / parts]</c>.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="isOffset">The stored weight is the distance from 1.</param>
    /// <param name="parts">Attention heads where each has its own norm.</param>
    public abstract Tensor RmsNorm(Tensor x, Tensor weight, double epsilon, bool isOffset, int parts = 1);

    /// <summary>Layer norm over the last dimension.</summary>
    public abstract Tensor LayerNorm(Tensor x, Tensor weight, Tensor bias, double epsilon);

    /// <summary>A nonlinearity.</summary>
    public abstract Tensor Activate(Tensor x, Activation activation);

    /// <summary>activation(gate) * up.</summary>
    public abstract Tensor Gate(Tensor gate, Tensor up, Activation activation);

    /// <summary>Queries, keys and values of a fused product.</summary>
    /// <param name="x"><c>[.., 3 heads headDim]</c>.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="isByHead">Each attention head's three lie next to each other; else all queries come first.</param>
    public abstract (Tensor Query, Tensor Key, Tensor Value) SplitFused(Tensor x, int heads, bool isByHead);

    /// <summary>Causal attention inside each sequence, rotary positions included.</summary>
    /// <param name="layer">Index of the layer.</param>
    /// <param name="query"><c>[.., heads headDim]</c>.</param>
    /// <param name="key"><c>[.., keyValueHeads headDim]</c>.</param>
    /// <param name="value">As <paramref name="key"/>.</param>
    /// <returns><c>[.., heads headDim]</c>.</returns>
    public abstract Tensor Attention(int layer, Tensor query, Tensor key, Tensor value);

    /// <summary>Runs a layer within a dispose scope of its own.</summary>
    public virtual Tensor Layer(int layer, Tensor x, Func<Tensor, Tensor> body)
    {
        using var scope = NewDisposeScope();
        return body(x).MoveToOuterDisposeScope();
    }
}

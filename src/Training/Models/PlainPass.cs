using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// The operations as the library has them, on <c>[Bsz, T, D]</c>: for inference, with or without a cache, and for whoever wants
/// libtorch's autograd to record them.
/// </summary>
internal class PlainPass : ForwardPass
{
    private readonly Tensor _inputIds;
    private readonly ILayerAdapters? _adapters;
    private readonly KeyValueCache? _cache;
    private readonly long _first;
    private readonly ScalarType _dtype;
    private readonly (Tensor Cos, Tensor Sin)? _rotary;
    private readonly Tensor? _mask;

    /// <param name="config">The model's.</param>
    /// <param name="inputIds">int64 <c>[Bsz, T]</c>.</param>
    /// <param name="adapters">Adds to the layers; null for the frozen model.</param>
    /// <param name="cache">The tokens before these; null where there are none.</param>
    /// <param name="hasRotary">Positions are angles, not rows of a table.</param>
    /// <param name="dtype">What is computed with.</param>
    public PlainPass(ModelConfig config, Tensor inputIds, ILayerAdapters? adapters, KeyValueCache? cache, bool hasRotary, ScalarType dtype)
        : this(config, inputIds, adapters, dtype)
    {
        (_cache, _first) = (cache, cache?.Length ?? 0);
        var tokens = inputIds.shape[1];
        _rotary = hasRotary ? Blocks.RotaryTable(_first, tokens, config, inputIds.device, dtype) : null;
        _mask = Blocks.CausalMask(_first, tokens, config.SlidingWindow, inputIds.device);
    }

    /// <summary>For a pass that knows places and attention itself.</summary>
    protected PlainPass(ModelConfig config, Tensor inputIds, ILayerAdapters? adapters, ScalarType dtype) =>
        (Config, _inputIds, _adapters, _dtype) = (config, inputIds, adapters, dtype);

    /// <summary>The model's.</summary>
    protected ModelConfig Config { get; }

    public override Tensor Embedding(LinearShape layer, FrozenMatrix table)
    {
        var rows = table.Gather(_inputIds.reshape(-1), _dtype).reshape(_inputIds.shape[0], _inputIds.shape[1], table.Columns);
        return _adapters?.AdaptEmbedding(layer.Module, _inputIds, rows) ?? rows;
    }

    public override Tensor AddPositions(Tensor x, Tensor table) => x.Plus(table.narrow(0, _first, x.shape[1]));

    public override Tensor Scale(Tensor x, Tensor factor) => x * factor;

    public override Tensor[] Linear(Tensor x, FrozenLinear[] layers) => [.. layers.Select(layer =>
    {
        var y = layer.Multiply(x);
        return _adapters?.Adapt(layer.Module, x, y) ?? y;
    })];

    public override Tensor Add(Tensor x, Tensor branch) => x.Plus(branch);

    public override Tensor RmsNorm(Tensor x, Tensor weight, double epsilon, bool isOffset, int parts = 1)
    {
        var rows = parts == 1 ? x : x.reshape([.. x.shape[..^1], parts, x.shape[^1] / parts]);
        var normed = isOffset ? Blocks.OffsetRmsNorm(rows, weight, epsilon) : Blocks.RmsNorm(rows, weight, epsilon);
        return parts == 1 ? normed : normed.reshape(x.shape);
    }

    public override Tensor LayerNorm(Tensor x, Tensor weight, Tensor bias, double epsilon) =>
        nn.functional.layer_norm(x, [x.shape[^1]], weight.to(x.dtype), bias.to(x.dtype), epsilon);

    public override Tensor Activate(Tensor x, Activation activation) => Blocks.Activate(x, activation);

    public override Tensor Gate(Tensor gate, Tensor up, Activation activation) => Blocks.Activate(gate, activation) * up;

    public override (Tensor Query, Tensor Key, Tensor Value) SplitFused(Tensor x, int heads, bool isByHead)
    {
        var parts = Blocks.SplitFused(x, heads, isByHead);
        return (parts[0], parts[1], parts[2]);
    }

    public override Tensor Attention(int layer, Tensor query, Tensor key, Tensor value)
    {
        var (heads, shared) = (Config.AttentionHeads, Config.KeyValueHeads);
        var (q, k, v) = (Blocks.SplitHeads(query, heads), Blocks.SplitHeads(key, shared), Blocks.SplitHeads(value, shared));
        if (_rotary is { } rotary) (q, k) = (Blocks.Rotate(q, rotary), Blocks.Rotate(k, rotary));
        if (_cache is not null) (k, v) = _cache.Append(layer, k, v);
        return Blocks.Attention(q, k, v, _mask);
    }
}

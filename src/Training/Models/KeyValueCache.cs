using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// Keys and values of the tokens so far, so that the next token costs one position instead of all. Belongs to one batch of sequences
/// of one length, one model and one adapter; for use without gradients. A sliding window limits what is looked at, not what is kept.
/// </summary>
public sealed class KeyValueCache : IDisposable
{
    private const long FirstCapacity = 64;

    private readonly List<(Tensor Keys, Tensor Values)> _layers = [];

    /// <summary>Tokens that went through the model.</summary>
    public long Length { get; private set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (keys, values) in _layers)
        {
            keys.Dispose();
            values.Dispose();
        }

        _layers.Clear();
    }

    /// <summary>Adds the new tokens of a layer; the cache counts them when all layers are through.</summary>
    /// <param name="layer">Layers come in their order.</param>
    /// <param name="keys"><c>[Bsz, keyValueHeads, T, headDim]</c>.</param>
    /// <param name="values">As <paramref name="keys"/>.</param>
    /// <returns>All so far, <c>[Bsz, keyValueHeads, Length + T, headDim]</c>: views that the next call may overwrite behind.</returns>
    internal (Tensor Keys, Tensor Values) Append(int layer, Tensor keys, Tensor values)
    {
        var length = Length + keys.shape[2];
        if (layer == _layers.Count) _layers.Add((Buffer(keys, length), Buffer(values, length)));
        else if (_layers[layer].Keys.shape[2] < length)
            _layers[layer] = (Grown(_layers[layer].Keys, length), Grown(_layers[layer].Values, length));
        return (Put(_layers[layer].Keys, keys), Put(_layers[layer].Values, values));
    }

    /// <summary>The tokens went through every layer.</summary>
    internal void Advance(long tokens) => Length += tokens;

    private Tensor Put(Tensor buffer, Tensor added)
    {
        buffer.narrow(2, Length, added.shape[2]).copy_(added);
        return buffer.narrow(2, 0, Length + added.shape[2]);
    }

    private Tensor Grown(Tensor old, long length)
    {
        var grown = Buffer(old, Math.Max(length, 2 * old.shape[2]));
        grown.narrow(2, 0, Length).copy_(old.narrow(2, 0, Length));
        old.Dispose();
        return grown;
    }

    private static Tensor Buffer(Tensor like, long length) => empty(
        [like.shape[0], like.shape[1], Math.Max(length, FirstCapacity), like.shape[3]], like.dtype, like.device).DetachFromDisposeScope();
}

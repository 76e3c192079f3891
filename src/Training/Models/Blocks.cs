using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>The parts that decoder families share. All tensors of one call have one device and one dtype.</summary>
internal static class Blocks
{
    /// <summary>Rows of an embedding table.</summary>
    /// <param name="ids">int64 <c>[Bsz, T]</c>.</param>
    /// <param name="weight"><c>[V, D]</c>.</param>
    /// <returns><c>[Bsz, T, D]</c>.</returns>
    public static Tensor Embed(Tensor ids, Tensor weight)
    {
        using var scope = NewDisposeScope();
        return weight.index_select(0, ids.reshape(-1)).reshape(ids.shape[0], ids.shape[1], weight.shape[1]).MoveToOuterDisposeScope();
    }

    /// <summary>Root mean square norm; the statistics are in float32 or wider.</summary>
    /// <param name="x"><c>[.., D]</c>.</param>
    /// <param name="weight"><c>[D]</c>.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    public static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon)
    {
        var wide = x.dtype is ScalarType.Float16 or ScalarType.BFloat16 ? x.to(ScalarType.Float32) : x;
        var normed = wide * (wide.square().mean([-1], keepdim: true) + epsilon).rsqrt();
        return normed.to(x.dtype) * weight;
    }

    /// <summary>Cosine and sine of the rotary angles of positions 0 to T - 1, each <c>[T, headDim]</c>.</summary>
    /// <remarks>Angles are float32 whatever the dtype, as in the reference implementation.</remarks>
    public static (Tensor Cos, Tensor Sin) RotaryTable(long tokens, int headDim, double theta, Device device, ScalarType dtype)
    {
        var exponents = arange(0, headDim, 2, ScalarType.Float32, device) / headDim;
        var frequencies = full_like(exponents, theta).pow(exponents).reciprocal();
        var angles = arange(tokens, ScalarType.Float32, device).unsqueeze(1) * frequencies.unsqueeze(0);
        var both = cat([angles, angles], 1);
        return (both.cos().to(dtype), both.sin().to(dtype));
    }

    /// <summary>Rotary position embedding in half-split layout: dimension i turns with i + headDim / 2.</summary>
    /// <param name="x"><c>[Bsz, heads, T, headDim]</c>.</param>
    /// <param name="table">From <see cref="RotaryTable"/>.</param>
    public static Tensor Rotate(Tensor x, (Tensor Cos, Tensor Sin) table)
    {
        var half = x.shape[^1] / 2;
        var turned = cat([-x.narrow(-1, half, half), x.narrow(-1, 0, half)], -1);
        return x * table.Cos + turned * table.Sin;
    }

    /// <summary><c>[Bsz, T, heads * headDim]</c> to <c>[Bsz, heads, T, headDim]</c>.</summary>
    public static Tensor SplitHeads(Tensor x, int heads) => x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] / heads).transpose(1, 2);

    /// <summary>Causal attention; each key and value head serves a group of query heads.</summary>
    /// <param name="query"><c>[Bsz, heads, T, headDim]</c>.</param>
    /// <param name="key"><c>[Bsz, keyValueHeads, T, headDim]</c>.</param>
    /// <param name="value">As <paramref name="key"/>.</param>
    /// <returns><c>[Bsz, T, heads * headDim]</c>.</returns>
    public static Tensor CausalAttention(Tensor query, Tensor key, Tensor value)
    {
        var (batch, heads, tokens, headDim) = (query.shape[0], query.shape[1], query.shape[2], query.shape[3]);
        var groups = heads / key.shape[1];
        var mixed = nn.functional.scaled_dot_product_attention(query, Repeat(key, groups), Repeat(value, groups), is_casual: true);
        return mixed.transpose(1, 2).reshape(batch, tokens, heads * headDim);
    }

    private static Tensor Repeat(Tensor x, long groups) => groups == 1
        ? x
        : x.unsqueeze(2).expand(x.shape[0], x.shape[1], groups, x.shape[2], x.shape[3]).reshape(x.shape[0], x.shape[1] * groups, x.shape[2], x.shape[3]);
}

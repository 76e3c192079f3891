using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>The parts that decoder families share. All tensors of one call have one device and one dtype.</summary>
internal static class Blocks
{
    /// <summary>Root mean square norm; the statistics are in float32 or wider.</summary>
    /// <param name="x"><c>[.., D]</c>.</param>
    /// <param name="weight"><c>[D]</c>.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    public static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon) => Normed(Wide(x), epsilon).to(x.dtype) * weight;

    /// <summary>Gemma's form of it: the stored weight is the distance from 1, and the product too is in float32 or wider.</summary>
    /// <inheritdoc cref="RmsNorm" path="/param"/>
    public static Tensor OffsetRmsNorm(Tensor x, Tensor weight, double epsilon) =>
        (Normed(Wide(x), epsilon) * Wide(weight).Plus(Living.One)).to(x.dtype);

    /// <summary>Cosine and sine of the rotary angles of consecutive positions, each <c>[count, dim]</c>.</summary>
    /// <param name="first">Position of the first token.</param>
    /// <param name="count">Number of tokens.</param>
    /// <param name="config">Width, base and scaling of the angles.</param>
    /// <param name="device">Of the result.</param>
    /// <param name="dtype">Of the result; angles are float32 whatever it is, as in the reference implementation.</param>
    public static (Tensor Cos, Tensor Sin) RotaryTable(long first, long count, ModelConfig config, Device device, ScalarType dtype)
    {
        var exponents = arange(Living.Of(0), Living.Of(config.RotaryDim), Living.Of(2), ScalarType.Float32, device)
            / Living.Of(config.RotaryDim);
        var frequencies = full_like(exponents, Living.Of(config.RopeTheta)).pow(exponents).reciprocal();
        frequencies = config.RopeScaling?.Apply(frequencies) ?? frequencies;
        var angles = Living.Range(first, first + count, device, ScalarType.Float32).unsqueeze(1) * frequencies.unsqueeze(0);
        var both = cat([angles, angles], 1);
        return (both.cos().to(dtype), both.sin().to(dtype));
    }

    /// <summary>
    /// Rotary position embedding of the first dim dimensions, in half-split layout: dimension i turns with i + dim / 2; the others
    /// pass through.
    /// </summary>
    /// <param name="x"><c>[Bsz, heads, T, headDim]</c>.</param>
    /// <param name="table">From <see cref="RotaryTable"/>.</param>
    public static Tensor Rotate(Tensor x, (Tensor Cos, Tensor Sin) table)
    {
        var (dim, rest) = (table.Cos.shape[1], x.shape[^1] - table.Cos.shape[1]);
        if (rest > 0) return cat([Rotate(x.narrow(-1, 0, dim), table), x.narrow(-1, dim, rest)], -1);
        var turned = cat([-x.narrow(-1, dim / 2, dim / 2), x.narrow(-1, 0, dim / 2)], -1);
        return (x * table.Cos).Plus(turned * table.Sin);
    }

    /// <summary>GELU in its tanh form, which configurations call gelu_new or gelu_pytorch_tanh.</summary>
    public static Tensor GeluTanh(Tensor x)
    {
        var inner = Living.Of(Math.Sqrt(2 / Math.PI)) * x.Plus(Living.Of(0.044715) * x.pow(Living.Of(3)));
        return Living.Of(0.5) * x * inner.tanh().Plus(Living.One);
    }

    /// <summary>A nonlinearity.</summary>
    public static Tensor Activate(Tensor x, Activation activation) => activation switch
    {
        Activation.Silu => nn.functional.silu(x),
        Activation.Gelu => nn.functional.gelu(x),
        _ => GeluTanh(x),
    };

    /// <summary>Queries, keys and values, each <c>[.., heads headDim]</c>, of a fused <c>[.., 3 heads headDim]</c>.</summary>
    public static Tensor[] SplitFused(Tensor x, int heads, bool isByHead)
    {
        if (!isByHead) return x.chunk(3, -1);
        long[] rows = x.shape[..^1];
        return [.. x.reshape([.. rows, heads, x.shape[^1] / heads]).chunk(3, -1).Select(part => part.reshape([.. rows, x.shape[^1] / 3]))];
    }

    /// <summary><c>[Bsz, T, heads * headDim]</c> to <c>[Bsz, heads, T, headDim]</c>.</summary>
    public static Tensor SplitHeads(Tensor x, int heads) => x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] / heads).transpose(1, 2);

    /// <summary>
    /// Causal attention; the queries are the last of the keys' positions, and each key and value head serves a group of query heads.
    /// </summary>
    /// <param name="query"><c>[Bsz, heads, T, headDim]</c>.</param>
    /// <param name="key"><c>[Bsz, keyValueHeads, S, headDim]</c>, S at least T.</param>
    /// <param name="value">As <paramref name="key"/>.</param>
    /// <param name="mask">From <see cref="CausalMask"/>; null where the plain causal rule is enough.</param>
    /// <returns><c>[Bsz, T, heads * headDim]</c>.</returns>
    public static Tensor Attention(Tensor query, Tensor key, Tensor value, Tensor? mask)
    {
        var (batch, heads, tokens, headDim) = (query.shape[0], query.shape[1], query.shape[2], query.shape[3]);
        var groups = heads / key.shape[1];
        var mixed = nn.functional.scaled_dot_product_attention(query, Repeat(key, groups), Repeat(value, groups), mask,
            is_casual: mask is null && tokens > 1);
        return mixed.transpose(1, 2).reshape(batch, tokens, heads * headDim);
    }

    /// <summary>True where a query may look: at its own position and before it, no further back than the window.</summary>
    /// <param name="first">Position of the first query; the keys begin at 0.</param>
    /// <param name="count">Number of queries.</param>
    /// <param name="window">How many positions a query sees, its own included; null for all.</param>
    /// <param name="device">Of the result.</param>
    /// <returns>bool <c>[count, first + count]</c>; null where it would say what the plain causal rule says.</returns>
    public static Tensor? CausalMask(long first, long count, int? window, Device device)
    {
        var beyond = first + count > window;
        if (!beyond && (first == 0 || count == 1)) return null;
        var query = Living.Range(first, first + count, device).unsqueeze(1);
        var key = Living.Range(0, first + count, device).unsqueeze(0);
        var causal = key.le(query);
        return beyond ? causal.logical_and(key.gt(query - Living.Of(window!.Value))) : causal;
    }

    private static Tensor Wide(Tensor x) => x.dtype is ScalarType.Float16 or ScalarType.BFloat16 ? x.to(ScalarType.Float32) : x;

    private static Tensor Normed(Tensor x, double epsilon) => 
        x * x.Squared().mean([-1], keepdim: true).Plus(Living.Of(epsilon)).rsqrt();

    private static Tensor Repeat(Tensor x, long groups) => groups == 1
        ? x
        : x.unsqueeze(2).expand(x.shape[0], x.shape[1], groups, x.shape[2], x.shape[3])
            .reshape(x.shape[0], x.shape[1] * groups, x.shape[2], x.shape[3]);
}

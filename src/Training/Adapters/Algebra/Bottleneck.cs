using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>
/// What follows from a static method without a token. Its mix is a matrix, found by giving it the identity: M = Mix(I). So dW = B A with
/// A the content rows that came down, K of them, and B = (M Up)^T. A method that depends on tokens is taken at its nearest static form.
/// </summary>
internal static class Bottleneck
{
    /// <summary>The two factors of dW.</summary>
    /// <param name="method">The method.</param>
    /// <param name="tensors">Its tensors on a layer.</param>
    /// <param name="scaling">s; 1 leaves it to whoever multiplies the factors.</param>
    /// <returns><c>[G, K, D_in]</c> and <c>[G, D_out, K]</c>.</returns>
    public static (Tensor A, Tensor B) Factors(AdapterMethod method, LayerTensors tensors, double scaling)
    {
        var factors = method.Factors(tensors);
        return (Laid([.. factors.Down.Where(static slot => slot.IsContent).Select(static slot => slot.Rows)]),
            Up(method, tensors, factors, scaling));
    }

    /// <summary>dW, <c>[G, D_out, D_in]</c>.</summary>
    public static Tensor Delta(AdapterMethod method, LayerTensors tensors, double scaling)
    {
        var (a, b) = Factors(method, tensors, scaling);
        return Times(b, a);
    }

    /// <summary>Squared Frobenius norm of dW for each member, <c>[G]</c>, by Gram matrices of K x K.</summary>
    public static Tensor SquaredNorm(AdapterMethod method, LayerTensors tensors, double scaling)
    {
        var (a, b) = Factors(method, tensors, scaling);
        return (b.transpose(1, 2).bmm(b) * a.bmm(a.transpose(1, 2))).sum([1, 2]);
    }

    /// <summary>The norm of each row of W0 + dW, <c>[G, D_out]</c>, without making dW.</summary>
    /// <param name="method">The method.</param>
    /// <param name="tensors">Its tensors on a layer.</param>
    /// <param name="scaling">s.</param>
    /// <param name="layer">The frozen layer.</param>
    /// <param name="squares">The squared norm of each row of W0, <c>[D_out]</c>.</param>
    public static Tensor Norms(AdapterMethod method, LayerTensors tensors, double scaling, FrozenLinear layer, Tensor squares)
    {
        var (a, b) = Factors(method, tensors, scaling);
        var rank = a.shape[1];
        // |w + b A|^2 = |w|^2 + 2 b (A w) + b A A^T b^T for each row.
        var onWeight = empty([a.shape[0] * rank, layer.OutWidth], a.dtype, a.device);
        layer.MultiplyInto(onWeight, a.reshape(-1, a.shape[2]));
        var (across, gram) = (onWeight.view(-1, rank, layer.OutWidth).transpose(1, 2), a.bmm(a.transpose(1, 2)));
        var moved = b * across.mul(Living.Of(2)).Plus(Times(b, gram));
        return squares.Plus(moved.sum([2])).clamp_min(Living.Of(0)).sqrt();
    }

    /// <summary>M^T over the heads, <c>[G, D_out, K]</c>.</summary>
    public static Tensor Up(AdapterMethod method, LayerTensors tensors, Factors factors, double scaling)
    {
        var up = LaidHeads(factors.Up); // [G, L, D_out]
        if (method.IsPlain) return up.transpose(1, 2).mul(Living.Of(scaling));
        var rows = factors.Down.Where(static slot => slot.IsContent).Sum(static slot => slot.Rows.shape[1]);
        var (identity, offset) = (eye(rows, rows, up.dtype, up.device), 0L);
        var z = new Narrow([.. factors.Down.Select(slot => KeyValuePair.Create(slot.Name, Given(slot)))]);
        var mix = method.Mix(tensors, z, MixContext.WithoutTokens(scaling, (int)rows)); // [G, K, L]
        return Times(mix, up).transpose(1, 2);

        Tensor Given(Slot slot)
        {
            var width = slot.Rows.shape[1];
            if (!slot.IsContent) return zeros([1, rows, 1, width], up.dtype, up.device);
            offset += width;
            return identity.narrow(1, offset - width, width).reshape(1, rows, 1, width);
        }
    }

    // Either may be what all members have in common.
    private static Tensor Times(Tensor left, Tensor right)
    {
        var members = Math.Max(left.shape[0], right.shape[0]);
        return left.expand(members, -1, -1).bmm(right.expand(members, -1, -1));
    }

    /// <summary>Rows below each other, for all members: <c>[G or 1, sum of k, D]</c>.</summary>
    public static Tensor Laid(IReadOnlyList<Tensor> rows)
    {
        if (rows.Count == 1) return rows[0];
        var members = rows.Max(static part => part.shape[0]);
        return cat([.. rows.Select(part => part.expand(members, -1, -1))], 1);
    }

    /// <summary>Heads below each other, turned: <c>[G or 1, sum of N k, D_out]</c>.</summary>
    public static Tensor LaidHeads(IReadOnlyList<Tensor> heads) => Laid([.. heads.Select(static part => part.shape[1] == 1
        ? part.select(1, 0).transpose(1, 2)
        : part.transpose(2, 3).flatten(1, 2))]);
}

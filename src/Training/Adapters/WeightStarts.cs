using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>
/// Factors that are computed from a matrix, in float64 on the CPU. Signs, which a decomposition leaves open, are chosen here: of each
/// left singular vector the largest entry is positive, and so is the diagonal of R.
/// </summary>
internal static class WeightStarts
{
    // Below this share of the largest singular value there is rounding alone.
    private const double Nothing = 1e-10;

    /// <summary>Both factors of a law, at their full rank, of which a layer takes the first.</summary>
    /// <param name="law">Pissa, Olora or Svd.</param>
    /// <param name="weight">The frozen weight, <c>[D_out, D_in]</c>.</param>
    /// <param name="scaling">s of the layer: Pissa's product s B A is the nearest of its rank to the weight.</param>
    /// <returns><c>[min, D_in]</c> and <c>[D_out, min]</c>.</returns>
    public static (Tensor A, Tensor B) Factors(InitLaw law, Tensor weight, double scaling)
    {
        if (law == InitLaw.Olora)
        {
            var (q, r) = linalg.qr(weight);
            var turn = SignsOf(r.diagonal());
            return (r * turn.unsqueeze(1), q * turn);
        }

        var (left, values, right) = linalg.svd(weight, fullMatrices: false);
        var signs = SignsOf(Largest(left));
        (left, right) = (left * signs, right * signs.unsqueeze(1));
        if (law == InitLaw.Svd) return (right * values.unsqueeze(1), left);
        var roots = values.div(Living.Of(scaling)).sqrt();
        return (right * roots.unsqueeze(1), left * roots);
    }

    /// <summary>The leading left singular vectors of matrices side by side (CoRA, arXiv 2409.02119).</summary>
    /// <param name="changes"><c>[D_out, any]</c>.</param>
    /// <param name="count">How many.</param>
    /// <param name="what">Names the matrices in an error.</param>
    /// <returns><c>[D_out, count]</c>.</returns>
    /// <exception cref="BadInputException">They span fewer dimensions.</exception>
    public static Tensor Subspace(IReadOnlyList<Tensor> changes, int count, string what)
    {
        var (left, values, _) = linalg.svd(changes is [var only] ? only : cat([.. changes], 1), fullMatrices: false);
        var spanned = (int)values.gt(values.max().mul(Living.Of(Nothing))).sum().item<long>();
        if (spanned < count)
            throw new BadInputException($"{what} span {spanned} dimensions, fewer than rank {count}; give a lower rank");
        return (left * SignsOf(Largest(left))).narrow(1, 0, count);
    }

    private static Tensor Largest(Tensor columns) => columns.gather(0, columns.abs().argmax(0, keepdim: true)).squeeze(0);

    // Never 0.
    private static Tensor SignsOf(Tensor values) => values.ge(Living.Of(0)).to(ScalarType.Float64).mul(Living.Of(2)).Plus(Living.Of(-1));
}

using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>
/// Means of k(x, y) = sum over 19 widths of exp(-beta |x - y|^2), beta = 1/(2 sigma), that the maximum mean discrepancy
/// E k(x, x') + E k(y, y') - 2 E k(x, y) is made of, pairs of a row with itself included (Align-LoRA, arXiv 2508.05078). Where y is not a
/// row but a Gaussian without covariances, with mean m and variance v, an expectation over it is an integral over each coordinate:
/// the integral of exp(-beta (x - y)^2) N(y; m, v) dy is (1 + 2 beta v)^-1/2 exp(-beta (x - m)^2 / (1 + 2 beta v)), since both factors are
/// Gaussians, of variances sigma and v, whose convolution has the variance sigma + v. Two draws y and y' differ by a Gaussian of variance
/// v + v', which gives the third mean the same way. A mixture is the mean over its components; rows are components without variance.
/// </summary>
internal static class KernelMeans
{
    // What a part of a mean holds for one width.
    private const long ElementsAtOnce = 1 << 16;

    /// <summary>The variances of the kernels.</summary>
    public static IReadOnlyList<double> Widths { get; } =
        [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6];

    /// <summary>E k(x, x') over pairs of rows, in parts that add up to it, some rows at a time.</summary>
    /// <param name="rows"><c>[.., n, R]</c>.</param>
    /// <param name="isReal">1 or 0, <c>[.., n]</c>; null where all rows are real.</param>
    /// <returns><c>[..]</c> each.</returns>
    public static IEnumerable<Tensor> Within(Tensor rows, Tensor? isReal = null)
    {
        var weights = Shares(rows, isReal);
        foreach (var (first, count) in Pieces(rows, rows.shape[^2]))
        {
            var apart = (rows.narrow(-2, first, count).unsqueeze(-2) - rows.unsqueeze(-3)).Squared().sum([-1]); // [.., count, n]
            var each = (Kernel(apart) * weights.unsqueeze(-2)).sum([-1]);
            yield return (each * weights.narrow(-1, first, count)).sum([-1]);
        }
    }

    /// <summary>E k(x, y), x a row and y drawn from a mixture, in parts that add up to it.</summary>
    /// <param name="rows"><c>[.., n, R]</c>.</param>
    /// <param name="isReal">1 or 0, <c>[.., n]</c>; null where all rows are real.</param>
    /// <param name="mixture">Its components, alike likely, <c>[.., M, R]</c>; its leading dimensions may be more.</param>
    public static IEnumerable<Tensor> Across(Tensor rows, Tensor? isReal, Gaussians mixture)
    {
        var weights = Shares(rows, isReal);
        var (means, variances) = (mixture.Mean.unsqueeze(-3), mixture.Variance.unsqueeze(-3));
        foreach (var (first, count) in Pieces(rows, mixture.Mean.numel() / rows.shape[^1]))
        {
            var apart = (rows.narrow(-2, first, count).unsqueeze(-2) - means).Squared(); // [.., count, M, R]
            yield return (Smoothed(apart, variances).mean([-1]) * weights.narrow(-1, first, count)).sum([-1]);
        }
    }

    /// <summary>E k(y, y') over two draws from a mixture.</summary>
    /// <param name="mixture">Its components, alike likely, <c>[.., M, R]</c>.</param>
    public static Tensor Within(Gaussians mixture)
    {
        Tensor Pairs(Tensor of, Func<Tensor, Tensor, Tensor> pair) => pair(of.unsqueeze(-2), of.unsqueeze(-3));
        return Smoothed(
            Pairs(mixture.Mean, static (one, other) => (one - other).Squared()),
            Pairs(mixture.Variance, static (one, other) => one.Plus(other))).mean([-2, -1]);
    }

    private static Tensor Kernel(Tensor apart) => Sum(beta => apart.mul(Living.Of(-beta)).exp());

    // Of squared distances by coordinate, each coordinate smoothed by a variance.
    private static Tensor Smoothed(Tensor apart, Tensor variances) => Sum(beta =>
    {
        var spread = variances.mul(Living.Of(2 * beta)).Plus(Living.One);
        return ((apart / spread).mul(Living.Of(-beta)) - spread.log().mul(Living.Of(0.5))).sum([-1]).exp();
    });

    private static Tensor Sum(Func<double, Tensor> of) =>
        Widths.Select(sigma => of(1 / (2 * sigma))).Aggregate(static (sum, next) => sum.Plus(next));

    private static Tensor Shares(Tensor rows, Tensor? isReal)
    {
        var real = isReal ?? ones(rows.shape[..^1], rows.dtype, rows.device);
        return real / real.sum([-1], keepdim: true).clamp_min(Living.One);
    }

    private static IEnumerable<(long First, long Count)> Pieces(Tensor rows, long others)
    {
        var n = rows.shape[^2];
        var step = Math.Max(1, ElementsAtOnce / Math.Max(1, rows.numel() / n * others));
        for (var first = 0L; first < n; first += step) yield return (first, Math.Min(step, n - first));
    }
}

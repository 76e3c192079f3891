using static TorchSharp.torch;

namespace FedRLora.Training.Objectives;

/// <summary>Gaussians without covariances, one for each place of the leading dimensions.</summary>
/// <param name="Mean"><c>[.., R]</c>.</param>
/// <param name="Variance"><c>[.., R]</c>.</param>
internal sealed record Gaussians(Tensor Mean, Tensor Variance)
{
    /// <summary>What is added to a variance, so that one of 0 can be divided by.</summary>
    public const double Epsilon = 1e-8;

    /// <summary>The moments of rows, the variance unbiased; of a single row, or none, it is <see cref="Epsilon"/>.</summary>
    /// <param name="rows"><c>[.., n, R]</c>.</param>
    /// <param name="isReal">1 or 0, <c>[.., n]</c>; null where all rows are real.</param>
    public static Gaussians Of(Tensor rows, Tensor? isReal = null)
    {
        var weights = (isReal ?? ones(rows.shape[..^1], rows.dtype, rows.device)).unsqueeze(-1);
        var count = weights.sum([-2]).clamp_min(Living.One);
        var mean = (rows * weights).sum([-2]) / count;
        var apart = (rows - mean.unsqueeze(-2)) * weights;
        var variance = apart.Squared().sum([-2]) / count.sub(Living.One).clamp_min(Living.One);
        return new(mean, variance.Plus(Living.Of(Epsilon)));
    }

    /// <summary>
    /// The symmetric divergence (KL(p||q) + KL(q||p)) / 2, summed over R. With KL(p||q) = 1/2 sum ln(w/v) + (v + d^2)/w - 1, v and w the
    /// variances and d the distance of the means, the logarithms cancel: 1/4 sum ((v - w)^2 + d^2 (v + w)) / (v w).
    /// </summary>
    /// <returns><c>[..]</c>.</returns>
    public Tensor Divergence(Gaussians other)
    {
        var (v, w, apart) = (Variance, other.Variance, (Mean - other.Mean).Squared());
        return ((v - w).Squared().Plus(apart * v.Plus(w)) / (v * w)).sum([-1]).mul(Living.Of(0.25));
    }
}

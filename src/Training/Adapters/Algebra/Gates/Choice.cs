using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra.Gates;

/// <summary>Which of some numbers are the largest, so that the answer does not depend on what is computed beside them.</summary>
/// <remarks>
/// What decides is computed in float64, where the order in which a product adds up, alone or in a batch, is seen far behind what tells two
/// numbers apart. So rows that are equal give numbers that count as equal, and rows that are nearly equal keep their order.
/// </remarks>
internal static class Choice
{
    // Of the largest number; more than a product's order of addition changes, and less than a float32 can tell.
    private const double Equal = 1e-10;

    /// <summary>Places of the K largest along the last dimension, the largest first; of equal ones the lower place comes first.</summary>
    /// <param name="numbers"><c>[.., N]</c>.</param>
    /// <param name="k">K.</param>
    /// <returns>int64 <c>[.., K]</c>.</returns>
    public static Tensor Largest(Tensor numbers, int k)
    {
        using var inference = no_grad();
        var (sorted, places) = numbers.detach().to(ScalarType.Float64).sort(-1, descending: true, stable: true);
        var count = sorted.shape[^1];
        if (count == 1) return places;
        var tolerance = sorted.abs().amax([-1], keepdim: true).mul(Living.Of(Equal));
        var isApart = (sorted.narrow(-1, 0, count - 1) - sorted.narrow(-1, 1, count - 1)).gt(tolerance).to(ScalarType.Int64);
        // Numbers that follow each other without a gap are equal; among them the places decide.
        var ranks = cat([zeros_like(places.narrow(-1, 0, 1)), isApart.cumsum(-1)], -1).mul(Living.Of(count)).add_(places, Living.One);
        return places.gather(-1, ranks.sort(-1).Indices.narrow(-1, 0, k));
    }

    /// <summary>Values at their places, 0 elsewhere: <c>[.., N]</c>.</summary>
    /// <param name="places">int64 <c>[.., K]</c>.</param>
    /// <param name="values"><c>[.., K]</c>.</param>
    /// <param name="count">N.</param>
    public static Tensor Scattered(Tensor places, Tensor values, long count) =>
        zeros([.. places.shape[..^1], count], values.dtype, values.device).scatter(-1, places, values);

    /// <summary>1 at chosen places, else 0: <c>[.., N]</c>.</summary>
    public static Tensor Marked(Tensor places, long count, ScalarType dtype) =>
        Scattered(places, ones(places.shape, dtype, places.device), count);

    /// <summary>
    /// How many of each member's real rows have each head for their first choice. By layer, as heads that collapse differently on two
    /// layers look balanced in their mean.
    /// </summary>
    /// <param name="chosen">The largest first, int64 <c>[G, m, K]</c>.</param>
    /// <param name="heads">N.</param>
    /// <param name="rows">Which are real.</param>
    /// <returns><c>[G, N]</c>.</returns>
    public static Tensor FirstChoices(Tensor chosen, int heads, MemberRows rows)
    {
        var first = Marked(chosen.narrow(-1, 0, 1), heads, ScalarType.Float32);
        return (first * rows.Mask(ScalarType.Float32, chosen.device).unsqueeze(-1)).sum([1]);
    }
}

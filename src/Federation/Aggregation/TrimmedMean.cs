using System.Numerics.Tensors;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The mean of every coordinate without its floor(beta K) smallest and as many largest values (Yin et al., ICML 2018, arXiv
/// 1803.01498). Unweighted by design, like the median.
/// </summary>
internal sealed class TrimmedMean(AggregationSpec spec) : IAggregationRule
{
    private readonly double _trim = spec.Trim ?? AggregationSpec.DefaultTrim;

    public bool KeepsUpdates => true;

    public string? TooFew(int updates) => TooFewUpdates.For(spec, updates);

    public IAccumulator Begin(AdapterShapes shapes) => new KeptUpdates(shapes, (shapes, updates) =>
    {
        TooFewUpdates.Throw(spec, updates.Count);
        // 0.29 times 100 is less than 29 in binary.
        var dropped = Math.Min((updates.Count - 1) / 2, (int)Math.Floor((_trim * updates.Count) + 1e-9));
        return new Reduced(
            SortedCoordinates.Reduce(
                shapes, updates, (sorted, result) => Average(sorted.AsSpan(dropped, sorted.Length - (2 * dropped)), result)));
    });

    // Added from the smallest to the largest, so that the order of the clients changes no bit.
    private static void Average(ReadOnlySpan<float[]> kept, Span<float> result)
    {
        var sum = new double[result.Length];
        var wide = new double[result.Length];
        foreach (var row in kept)
        {
            TensorPrimitives.ConvertTruncating<float, double>(row.AsSpan(0, result.Length), wide);
            TensorPrimitives.Add(sum, wide, sum);
        }

        TensorPrimitives.Divide(sum, kept.Length, sum);
        TensorPrimitives.ConvertTruncating<double, float>(sum, result);
    }
}

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The median of every coordinate; of an even number of values the mean of the two in the middle (Yin et al., ICML 2018, arXiv
/// 1803.01498). Unweighted by design: whoever chooses its own sample count would choose its own weight.
/// </summary>
internal sealed class Median : IAggregationRule
{
    public bool KeepsUpdates => true;

    public IAccumulator Begin(AdapterShapes shapes) => new KeptUpdates(shapes, static (shapes, updates) =>
        new Reduced(SortedCoordinates.Reduce(shapes, updates, static (sorted, result) =>
        {
            var (lower, upper) = (sorted[(sorted.Length - 1) / 2], sorted[sorted.Length / 2]);
            for (var i = 0; i < result.Length; i++)
                result[i] = (float)(((double)lower[i] + upper[i]) / 2);
        })));
}

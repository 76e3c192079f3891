using System.Globalization;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The weighted mean of the updates, each one longer than C first shortened to it: x min(1, C/|x|) with the L2 norm over all tensors
/// together (Sun et al., arXiv 1911.07963). C is given by the plan, or is the median length of the cohort, which needs all updates.
/// </summary>
/// <param name="maxNorm">C; null for the median length.</param>
internal sealed class NormBound(double? maxNorm) : IAggregationRule
{
    public bool KeepsUpdates => maxNorm is null;

    public IAccumulator Begin(AdapterShapes shapes) =>
        maxNorm is { } bound ? new Accumulator(shapes, bound) : new KeptUpdates(shapes, static (shapes, updates) =>
        {
            var bounded = new Accumulator(shapes, MedianLength(updates));
            foreach (var kept in updates)
                bounded.Add(kept.Update, kept.Weight, kept.Length);
            var aggregate = bounded.Finish();
            return new Reduced(aggregate.Update, aggregate.Curbed);
        });

    private static double MedianLength(IReadOnlyList<KeptUpdate> updates)
    {
        double[] lengths = [.. updates.Select(static kept => kept.Length).Order()];
        return (lengths[(lengths.Length - 1) / 2] + lengths[lengths.Length / 2]) / 2;
    }

    private sealed class Accumulator(AdapterShapes shapes, double bound) : IAccumulator
    {
        private readonly Mean.Accumulator _mean = new(shapes);
        private readonly Dictionary<int, string> _curbed = [];
        private int _added;

        public void Add(AdapterState update, double weight, double length)
        {
            if (length > bound)
                _curbed.Add(_added, string.Create(CultureInfo.InvariantCulture, $"shortened from {length:G3} to {bound:G3}"));
            _mean.Add(update, weight, length, length > bound ? bound / length : 1);
            _added++;
        }

        public void Merge(IAccumulator other)
        {
            var partial = (Accumulator)other;
            _mean.Merge(partial._mean);
            foreach (var (index, reason) in partial._curbed)
                _curbed.Add(_added + index, reason);
            _added += partial._added;
        }

        public AggregateUpdate Finish() => _mean.Finish() with { Curbed = _curbed };
    }
}

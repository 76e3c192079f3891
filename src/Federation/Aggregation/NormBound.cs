using System.Globalization;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The weighted mean of the updates, each one longer than C first shortened to it: x min(1, C/|x|) with the L2 norm over all tensors
/// together (Sun et al., arXiv 1911.07963). C is given by the plan, or is the median length of the cohort.
/// </summary>
/// <param name="maxNorm">C; null for the median length.</param>
internal sealed class NormBound(double? maxNorm) : IAggregationRule
{
    public bool KeepsUpdates => maxNorm is null;

    public IAccumulator Begin(AdapterShapes shapes) =>
        maxNorm is { } bound ? new Accumulator(shapes, bound) : new KeptUpdates(shapes, static (shapes, updates) =>
        {
            var bounded = new Accumulator(shapes, MedianLength(updates.Select(static kept => kept.Length)));
            foreach (var kept in updates)
                bounded.Add(kept.Update, kept.Weight, kept.Length);
            var aggregate = bounded.Finish();
            return new Reduced(aggregate.Update, aggregate.Curbed);
        });

    public bool NeedsLengths => true;

    public IPieceAccumulator BeginPieces(AdapterShapes shapes) => new Pieces(shapes, maxNorm);

    private static double MedianLength(IEnumerable<double> lengths)
    {
        double[] ordered = [.. lengths.Order()];
        return (ordered[(ordered.Length - 1) / 2] + ordered[ordered.Length / 2]) / 2;
    }

    private static double Scale(double length, double bound) => length > bound ? bound / length : 1;

    private static string Shortened(double length, double bound) =>
        string.Create(CultureInfo.InvariantCulture, $"shortened from {length:G3} to {bound:G3}");

    private sealed class Pieces(AdapterShapes shapes, double? maxNorm) : IPieceAccumulator
    {
        private readonly Mean.Accumulator _mean = new(shapes);
        private readonly Dictionary<int, string> _curbed = [];
        private double[] _scales = [];

        public void Measured(IReadOnlyList<double> lengths)
        {
            if (lengths.Count == 0) return;
            var bound = maxNorm ?? MedianLength(lengths);
            _scales = [.. lengths.Select(length => Scale(length, bound))];
            foreach (var (place, length) in lengths.Index())
            {
                if (length > bound) _curbed.Add(place, Shortened(length, bound));
            }
        }

        public void Add(int place, string name, int start, ReadOnlySpan<float> values, double weight) =>
            _mean.Add(place, name, start, values, weight * _scales[place]);

        public void Added(double weight, double length) => _mean.Added(weight, length);

        public AggregateUpdate Finish()
        {
            var aggregate = _mean.Finish() with { Curbed = _curbed };
            return maxNorm is null ? aggregate with { Coherence = _mean.CoherenceOf(aggregate.Update) } : aggregate;
        }
    }

    private sealed class Accumulator(AdapterShapes shapes, double bound) : IAccumulator
    {
        private readonly Mean.Accumulator _mean = new(shapes);
        private readonly Dictionary<int, string> _curbed = [];
        private int _added;

        public void Add(AdapterState update, double weight, double length)
        {
            if (length > bound)
                _curbed.Add(_added, Shortened(length, bound));
            _mean.Add(update, weight, length, Scale(length, bound));
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

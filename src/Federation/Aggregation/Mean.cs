using System.Numerics.Tensors;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>The weighted mean of every element, summed in float64 (FedAvg, arXiv 1602.05629).</summary>
internal sealed class Mean : IAggregationRule
{
    public IAccumulator Begin(AdapterShapes shapes) => new Accumulator(shapes);

    /// <summary>The mean of what some rule has chosen.</summary>
    public static AdapterState Of(AdapterShapes shapes, IEnumerable<(AdapterState Update, double Weight)> updates)
    {
        var mean = new Accumulator(shapes);
        foreach (var (update, weight) in updates)
            mean.Add(update, weight, 0);
        return mean.Finish().Update;
    }

    internal sealed class Accumulator(AdapterShapes shapes) : IAccumulator
    {
        private const int Block = 4096;

        private readonly SortedDictionary<string, double[]> _sums = new(
            shapes.ToDictionary(
                static shape => shape.Key, static shape => new double[NamedArray.Count(shape.Value)], StringComparer.Ordinal),
            StringComparer.Ordinal);
        private readonly double[] _block = new double[Block];
        private double _weight;
        private double _weightedLength;

        public void Add(AdapterState update, double weight, double length) => Add(update, weight, length, 1);

        /// <summary>Adds <paramref name="scale"/> times an update, which keeps its weight.</summary>
        public void Add(AdapterState update, double weight, double length, double scale)
        {
            foreach (var (name, sum) in _sums)
            {
                var data = update[name].Data;
                for (var start = 0; start < data.Length; start += Block)
                {
                    var wide = _block.AsSpan(0, Math.Min(Block, data.Length - start));
                    TensorPrimitives.ConvertTruncating<float, double>(data.AsSpan(start, wide.Length), wide);
                    var target = sum.AsSpan(start, wide.Length);
                    TensorPrimitives.MultiplyAdd(wide, weight * scale, target, target);   // not fused: the same bits on every processor
                }
            }
            _weight += weight;
            _weightedLength += weight * length;
        }

        public void Merge(IAccumulator other)
        {
            var partial = (Accumulator)other;
            foreach (var (name, sum) in _sums)
                TensorPrimitives.Add(sum, partial._sums[name], sum);
            _weight += partial._weight;
            _weightedLength += partial._weightedLength;
        }

        public AggregateUpdate Finish()
        {
            if (!(_weight > 0))
                throw new InvalidOperationException("A mean needs at least one update with a positive weight.");

            var squares = 0.0;
            var arrays = new List<KeyValuePair<string, NamedArray>>(_sums.Count);
            foreach (var (name, sum) in _sums)
            {
                var rounded = GC.AllocateUninitializedArray<float>(sum.Length);
                for (var start = 0; start < rounded.Length; start += Block)
                {
                    var mean = _block.AsSpan(0, Math.Min(Block, rounded.Length - start));
                    TensorPrimitives.Divide(sum.AsSpan(start, mean.Length), _weight, mean);
                    foreach (var value in mean)   // in index order
                        squares += value * value;
                    TensorPrimitives.ConvertTruncating<double, float>(mean, rounded.AsSpan(start, mean.Length));
                }
                arrays.Add(KeyValuePair.Create(name, new NamedArray(shapes[name], rounded)));
            }
            var length = _weightedLength / _weight;
            return new AggregateUpdate(new AdapterState(arrays), length > 0 ? Math.Sqrt(squares) / length : null);
        }
    }
}

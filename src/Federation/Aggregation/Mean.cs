using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>The weighted mean of every element, summed in float64 (FedAvg, arXiv 1602.05629).</summary>
internal sealed class Mean : IAggregationRule
{
    public IAccumulator Begin(AdapterShapes shapes) => new Accumulator(shapes);

    public IPieceAccumulator BeginPieces(AdapterShapes shapes) => new Accumulator(shapes);

    /// <summary>The mean of what some rule has chosen.</summary>
    public static AdapterState Of(AdapterShapes shapes, IEnumerable<(AdapterState Update, double Weight)> updates)
    {
        var mean = new Accumulator(shapes);
        foreach (var (update, weight) in updates)
            mean.Add(update, weight, 0);
        return mean.Finish().Update;
    }

    internal sealed class Accumulator(AdapterShapes shapes) : IAccumulator, IPieceAccumulator
    {
        private readonly SortedDictionary<string, WideArray> _sums = new(
            shapes.ToDictionary(
                static shape => shape.Key, static shape => new WideArray(NamedArray.Count(shape.Value)), StringComparer.Ordinal),
            StringComparer.Ordinal);
        private double _weight;
        private double _weightedLength;

        public void Add(AdapterState update, double weight, double length) => Add(update, weight, length, 1);

        /// <summary>Adds <paramref name="scale"/> times an update, which keeps its weight.</summary>
        public void Add(AdapterState update, double weight, double length, double scale)
        {
            foreach (var (name, sum) in _sums) sum.AddTimes(weight * scale, 0, update[name].Data);
            Added(weight, length);
        }

        public void Measured(IReadOnlyList<double> lengths)
        {
        }

        public void Add(int place, string name, int start, ReadOnlySpan<float> values, double weight) =>
            _sums[name].AddTimes(weight, start, values);

        public void Added(double weight, double length)
        {
            _weight += weight;
            _weightedLength += weight * length;
        }

        /// <summary>How long what became of the sums is, over the weighted mean length of the updates; null where none has one.</summary>
        public double? CoherenceOf(AdapterState rounded)
        {
            var length = _weightedLength / _weight;
            return length > 0 ? UpdateCheck.Length(rounded) / length : null;
        }

        public void Merge(IAccumulator other)
        {
            var partial = (Accumulator)other;
            foreach (var (name, sum) in _sums)
                sum.Add(partial._sums[name]);
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
                arrays.Add(KeyValuePair.Create(name, new NamedArray(shapes[name], sum.TakeDivided(_weight, ref squares))));
            var length = _weightedLength / _weight;
            return new AggregateUpdate(new AdapterState(arrays), length > 0 ? Math.Sqrt(squares) / length : null);
        }
    }
}

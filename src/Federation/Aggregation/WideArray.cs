using System.Buffers;
using System.Numerics.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// Sums in float64, in segments of half a mebibyte that go from one aggregation to the next: arrays of a tensor's length, new in every
/// round, would stay in memory until the runtime looks through the whole heap.
/// </summary>
internal sealed class WideArray
{
    private const int Block = 4096; // widened at a time
    private const int Segment = 1 << 16;

    private readonly int _count;
    private double[][]? _segments;

    /// <param name="count">Elements; all are 0.</param>
    public WideArray(long count)
    {
        _count = checked((int)count);
        _segments = new double[(count + Segment - 1) / Segment][];
        for (var i = 0; i < _segments.Length; i++)
        {
            var length = Math.Min(Segment, _count - (i * Segment));
            _segments[i] = ArrayPool<double>.Shared.Rent(length);
            _segments[i].AsSpan(0, length).Clear();
        }
    }

    /// <summary>Adds <paramref name="factor"/> times <paramref name="values"/>.</summary>
    /// <param name="factor">The factor.</param>
    /// <param name="start">The first element, a multiple of 4,096.</param>
    /// <param name="values">The values.</param>
    public void AddTimes(double factor, int start, ReadOnlySpan<float> values)
    {
        Span<double> wide = stackalloc double[Math.Min(Block, values.Length)];
        for (; !values.IsEmpty; start += Block)
        {
            var block = wide[..Math.Min(Block, values.Length)];
            TensorPrimitives.ConvertTruncating<float, double>(values[..block.Length], block);
            var target = At(start, block.Length);
            TensorPrimitives.MultiplyAdd(block, factor, target, target); // not fused: the same bits on every processor
            values = values[block.Length..];
        }
    }

    /// <summary>Adds others, of which there are as many.</summary>
    public void Add(WideArray others)
    {
        for (var start = 0; start < _count; start += Block)
        {
            var target = At(start, Math.Min(Block, _count - start));
            TensorPrimitives.Add(target, others.At(start, target.Length), target);
        }
    }

    /// <summary>All of them over <paramref name="divisor"/>, rounded once to float32. They are gone then.</summary>
    /// <param name="divisor">The divisor.</param>
    /// <param name="squares">Takes the squares of what is rounded, in index order.</param>
    public float[] TakeDivided(double divisor, ref double squares)
    {
        var rounded = GC.AllocateUninitializedArray<float>(_count);
        for (var start = 0; start < _count; start += Block)
        {
            var mean = At(start, Math.Min(Block, _count - start));
            TensorPrimitives.Divide(mean, divisor, mean);
            foreach (var value in mean) squares += value * value;
            TensorPrimitives.ConvertTruncating<double, float>(mean, rounded.AsSpan(start, mean.Length));
        }

        Return();
        return rounded;
    }

    private void Return()
    {
        foreach (var segment in _segments ?? []) ArrayPool<double>.Shared.Return(segment);
        _segments = null;
    }

    private Span<double> At(int start, int length) =>
        (_segments ?? throw new InvalidOperationException("The sums were taken."))[start / Segment].AsSpan(start % Segment, length);
}

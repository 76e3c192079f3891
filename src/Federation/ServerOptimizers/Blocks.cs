using System.Numerics.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>The blocks of arrays of one length, widened to float64 for a step and rounded after it.</summary>
internal sealed class Blocks(int length, int arrays)
{
    private const int Size = 4096;

    private readonly double[][] _wide = [.. Enumerable.Range(0, arrays).Select(_ => new double[Math.Min(Size, length)])];

    private int _start;
    private int _count = -1;

    /// <summary>For foreach: each block in its turn is this object.</summary>
    public Blocks GetEnumerator() => this;

    /// <summary>The block that it is at.</summary>
    public Blocks Current => this;

    /// <summary>Goes to the next block.</summary>
    public bool MoveNext()
    {
        _start = _count < 0 ? 0 : _start + _count;
        _count = Math.Min(Size, length - _start);
        return _count > 0;
    }

    /// <summary>The block of a place.</summary>
    public Span<double> this[int place] => _wide[place].AsSpan(0, _count);

    /// <summary>The block of an array, widened into a place.</summary>
    public Span<double> Read(int place, float[] array)
    {
        TensorPrimitives.ConvertTruncating<float, double>(array.AsSpan(_start, _count), this[place]);
        return this[place];
    }

    /// <summary>The block of a place, rounded into an array.</summary>
    public void Write(int place, float[] array) =>
        TensorPrimitives.ConvertTruncating<double, float>(this[place], array.AsSpan(_start, _count));
}

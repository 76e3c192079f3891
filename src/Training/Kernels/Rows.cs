using System.Runtime.CompilerServices;

namespace FedRLora.Training.Kernels;

/// <summary>What kernels do to one row. Sums have four times sixteen terms side by side, whatever the processor.</summary>
internal static unsafe class Rows<T>
    where T : struct, ISixteen<T>
{
    private const int Width = 16;
    private const int Side = 4;

    // Below this e^x is no normal float32, and counts as 0.
    private const float Lowest = -87.3f;

    /// <summary>The sum of products.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Dot(float* left, float* right, long count)
    {
        T a = T.Of(0), b = a, c = a, d = a;
        var i = 0L;
        for (; i <= count - Side * Width; i += Side * Width)
        {
            a = T.FusedMultiplyAdd(T.Load(left + i), T.Load(right + i), a);
            b = T.FusedMultiplyAdd(T.Load(left + i + Width), T.Load(right + i + Width), b);
            c = T.FusedMultiplyAdd(T.Load(left + i + 2 * Width), T.Load(right + i + 2 * Width), c);
            d = T.FusedMultiplyAdd(T.Load(left + i + 3 * Width), T.Load(right + i + 3 * Width), d);
        }

        for (; i <= count - Width; i += Width) a = T.FusedMultiplyAdd(T.Load(left + i), T.Load(right + i), a);
        if (i < count) b = T.FusedMultiplyAdd(LoadPart(left + i, count - i, 0), LoadPart(right + i, count - i, 0), b);
        return T.Sum(a + b + (c + d));
    }

    /// <summary>The sum of products of three.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Dot(float* left, float* middle, float* right, long count)
    {
        T a = T.Of(0), b = a, c = a, d = a;
        var i = 0L;
        for (; i <= count - Side * Width; i += Side * Width)
        {
            a = Added(a, i);
            b = Added(b, i + Width);
            c = Added(c, i + 2 * Width);
            d = Added(d, i + 3 * Width);
        }

        for (; i <= count - Width; i += Width) a = Added(a, i);
        var rest = count - i;
        if (rest > 0) b = T.FusedMultiplyAdd(LoadPart(left + i, rest, 0), LoadPart(middle + i, rest, 0) * LoadPart(right + i, rest, 0), b);
        return T.Sum(a + b + (c + d));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        T Added(T sum, long at) => T.FusedMultiplyAdd(T.Load(left + at), T.Load(middle + at) * T.Load(right + at), sum);
    }

    /// <summary>The greatest; where one is no number, any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Highest(float* row, long count)
    {
        T a = T.Of(float.NegativeInfinity), b = a, c = a, d = a;
        var i = 0L;
        for (; i <= count - Side * Width; i += Side * Width)
        {
            a = T.Max(a, T.Load(row + i));
            b = T.Max(b, T.Load(row + i + Width));
            c = T.Max(c, T.Load(row + i + 2 * Width));
            d = T.Max(d, T.Load(row + i + 3 * Width));
        }

        for (; i <= count - Width; i += Width) a = T.Max(a, T.Load(row + i));
        if (i < count) b = T.Max(b, LoadPart(row + i, count - i, float.NegativeInfinity));
        return T.Highest(T.Max(T.Max(a, b), T.Max(c, d)));
    }

    /// <summary>In place e^(x scale - highest), and their sum.</summary>
    /// <param name="row">Numbers that times the scale are at most the highest, or NaN.</param>
    /// <param name="count">Of them.</param>
    /// <param name="scale">Not negative.</param>
    /// <param name="highest">The scale included.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float ToExponentials(float* row, long count, float scale, float highest)
    {
        T a = T.Of(0), b = a, c = a, d = a, times = T.Of(scale), down = T.Of(-highest);
        var i = 0L;
        for (; i <= count - Side * Width; i += Side * Width)
        {
            var w = Exponential(T.FusedMultiplyAdd(T.Load(row + i), times, down));
            var x = Exponential(T.FusedMultiplyAdd(T.Load(row + i + Width), times, down));
            var y = Exponential(T.FusedMultiplyAdd(T.Load(row + i + 2 * Width), times, down));
            var z = Exponential(T.FusedMultiplyAdd(T.Load(row + i + 3 * Width), times, down));
            T.Store(w, row + i);
            T.Store(x, row + i + Width);
            T.Store(y, row + i + 2 * Width);
            T.Store(z, row + i + 3 * Width);
            a += w;
            b += x;
            c += y;
            d += z;
        }

        for (; i <= count - Width; i += Width)
        {
            var w = Exponential(T.FusedMultiplyAdd(T.Load(row + i), times, down));
            T.Store(w, row + i);
            a += w;
        }

        if (i < count)
        {
            StorePart(Exponential(T.FusedMultiplyAdd(LoadPart(row + i, count - i, 0), times, down)), row + i, count - i);
            b += LoadPart(row + i, count - i, 0);
        }

        return T.Sum(a + b + (c + d));
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sigmoid(T x)
    {
        var power = Exponential(T.Of(0) - T.Abs(x));
        return T.Choose(x, 0, T.Of(1), power) / (T.Of(1) + power);
    }

    /// <summary>e^x for x at most about 0, to about a unit in the last place; the method of Cephes' <c>expf</c>. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Exponential(T x)
    {
        var shift = T.Of(12582912f); // 1.5 2^23: what is added to it is rounded to a whole number
        var shifted = T.FusedMultiplyAdd(x, T.Of(1.44269504f), shift);
        var n = shifted - shift;
        var r = T.FusedMultiplyAdd(n, T.Of(2.12194440e-4f), T.FusedMultiplyAdd(n, T.Of(-0.693359375f), x));
        var p = T.FusedMultiplyAdd(T.Of(1.9875691500e-4f), r, T.Of(1.3981999507e-3f));
        p = T.FusedMultiplyAdd(p, r, T.Of(8.3334519073e-3f));
        p = T.FusedMultiplyAdd(p, r, T.Of(4.1665795894e-2f));
        p = T.FusedMultiplyAdd(p, r, T.Of(1.6666665459e-1f));
        p = T.FusedMultiplyAdd(p, r, T.Of(5.0000001201e-1f));
        p = T.FusedMultiplyAdd(p, r * r, r) + T.Of(1);
        return T.Choose(x, Lowest, p * T.PowerOfTwo(shifted), T.Of(0));
    }

    /// <summary>Fewer than sixteen from memory, the rest filled.</summary>
    public static T LoadPart(float* from, long count, float fill)
    {
        var part = stackalloc float[Width];
        for (var i = 0; i < Width; i++) part[i] = i < count ? from[i] : fill;
        return T.Load(part);
    }

    /// <summary>The first few to memory.</summary>
    public static void StorePart(T x, float* to, long count)
    {
        var part = stackalloc float[Width];
        T.Store(x, part);
        for (var i = 0; i < count; i++) to[i] = part[i];
    }
}

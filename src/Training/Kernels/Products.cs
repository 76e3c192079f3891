using System.Runtime.CompilerServices;

namespace FedRLora.Training.Kernels;

/// <summary>Small matrix products, for which a call of the library costs more than it computes.</summary>
internal static unsafe class Products<T>
    where T : struct, ISixteen<T>
{
    /// <summary>Rows of the result at a time.</summary>
    public const int Group = 4;

    private const int Width = 16;

    /// <summary>c = a b, or c + a b. Each element is one chain of fused sums in the order of <paramref name="depth"/>.</summary>
    /// <param name="a"><c>[rows, depth]</c>, with any strides.</param>
    /// <param name="aRow">From row to row.</param>
    /// <param name="aStep">From column to column.</param>
    /// <param name="b"><c>[depth, columns]</c>.</param>
    /// <param name="bRow">From row to row.</param>
    /// <param name="c"><c>[rows, columns]</c>.</param>
    /// <param name="cRow">From row to row.</param>
    /// <param name="rows">At most <see cref="Group"/>.</param>
    /// <param name="columns">A multiple of 16.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="adds">To what is in c.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(
        float* a, long aRow, long aStep, float* b, long bRow, float* c, long cRow, int rows, int columns, int depth, bool adds)
    {
        if (rows < Group)
        {
            for (var row = 0; row < rows; row++, a += aRow, c += cRow) Row(a, aStep, b, bRow, c, columns, depth, adds);
            return;
        }

        var column = 0;
        if (T.IsWide)
        {
            for (; column <= columns - 2 * Width; column += 2 * Width)
                Wide(a, aRow, aStep, b + column, bRow, c + column, cRow, depth, adds);
        }

        for (; column < columns; column += Width) Narrow(a, aRow, aStep, b + column, bRow, c + column, cRow, depth, adds);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Wide(float* a, long aRow, long aStep, float* b, long bRow, float* c, long cRow, int depth, bool adds)
    {
        float* a1 = a + aRow, a2 = a1 + aRow, a3 = a2 + aRow, c1 = c + cRow, c2 = c1 + cRow, c3 = c2 + cRow;
        T s0 = T.Of(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
        if (adds)
        {
            (s0, s1, s2, s3) = (T.Load(c), T.Load(c1), T.Load(c2), T.Load(c3));
            (t0, t1, t2, t3) = (T.Load(c + Width), T.Load(c1 + Width), T.Load(c2 + Width), T.Load(c3 + Width));
        }

        for (var k = 0; k < depth; k++)
        {
            T x = T.Load(b), y = T.Load(b + Width);
            var w = T.Of(*a);
            s0 = T.FusedMultiplyAdd(w, x, s0);
            t0 = T.FusedMultiplyAdd(w, y, t0);
            w = T.Of(*a1);
            s1 = T.FusedMultiplyAdd(w, x, s1);
            t1 = T.FusedMultiplyAdd(w, y, t1);
            w = T.Of(*a2);
            s2 = T.FusedMultiplyAdd(w, x, s2);
            t2 = T.FusedMultiplyAdd(w, y, t2);
            w = T.Of(*a3);
            s3 = T.FusedMultiplyAdd(w, x, s3);
            t3 = T.FusedMultiplyAdd(w, y, t3);
            a += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            b += bRow;
        }

        T.Store(s0, c);
        T.Store(t0, c + Width);
        T.Store(s1, c1);
        T.Store(t1, c1 + Width);
        T.Store(s2, c2);
        T.Store(t2, c2 + Width);
        T.Store(s3, c3);
        T.Store(t3, c3 + Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Narrow(float* a, long aRow, long aStep, float* b, long bRow, float* c, long cRow, int depth, bool adds)
    {
        float* a1 = a + aRow, a2 = a1 + aRow, a3 = a2 + aRow, c1 = c + cRow, c2 = c1 + cRow, c3 = c2 + cRow;
        T s0 = T.Of(0), s1 = s0, s2 = s0, s3 = s0;
        if (adds) (s0, s1, s2, s3) = (T.Load(c), T.Load(c1), T.Load(c2), T.Load(c3));
        for (var k = 0; k < depth; k++)
        {
            var x = T.Load(b);
            s0 = T.FusedMultiplyAdd(T.Of(*a), x, s0);
            s1 = T.FusedMultiplyAdd(T.Of(*a1), x, s1);
            s2 = T.FusedMultiplyAdd(T.Of(*a2), x, s2);
            s3 = T.FusedMultiplyAdd(T.Of(*a3), x, s3);
            a += aStep;
            a1 += aStep;
            a2 += aStep;
            a3 += aStep;
            b += bRow;
        }

        T.Store(s0, c);
        T.Store(s1, c1);
        T.Store(s2, c2);
        T.Store(s3, c3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row(float* a, long aStep, float* b, long bRow, float* c, int columns, int depth, bool adds)
    {
        for (var column = 0; column < columns; column += Width)
        {
            var sum = adds ? T.Load(c + column) : T.Of(0);
            float* left = a, right = b + column;
            for (var k = 0; k < depth; k++, left += aStep, right += bRow) sum = T.FusedMultiplyAdd(T.Of(*left), T.Load(right), sum);
            T.Store(sum, c + column);
        }
    }
}

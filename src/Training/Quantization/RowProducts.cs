using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>
/// x W^T for few rows of x: some rows of W at a time are widened into the processor's cache and multiplied with all of x there, so that
/// of W no more than what is stored comes from memory.
/// </summary>
internal static unsafe class RowProducts
{
    /// <summary>y[i, row] = x[i] W[row] for some rows of W. An element's bits depend on nothing but its own x and row.</summary>
    /// <param name="weight">W, <c>[.., Columns]</c>.</param>
    /// <param name="first">The first of its rows.</param>
    /// <param name="end">Behind the last one.</param>
    /// <param name="x"><c>[height, Columns]</c>.</param>
    /// <param name="height">Rows of x; above about ten the library's product of widened rows is faster.</param>
    /// <param name="y"><c>[height, width]</c>, where the rows' numbers are those of columns.</param>
    /// <param name="width">From row to row of y.</param>
    public static void Multiply<TRows>(TRows weight, long first, long end, float* x, int height, float* y, long width)
        where TRows : IStoredRows
    {
        if (Vector512.IsHardwareAccelerated) RowProducts<WideSixteen>.Multiply(weight, first, end, x, height, y, width);
        else RowProducts<PairedSixteen>.Multiply(weight, first, end, x, height, y, width);
    }
}

/// <summary>The same with registers of a given width, which changes no bit.</summary>
internal static unsafe class RowProducts<T>
    where T : struct, ISixteen<T>
{
    private const int Width = 16;
    private const int Group = 4;

    /// <inheritdoc cref="RowProducts.Multiply"/>
    public static void Multiply<TRows>(TRows weight, long first, long end, float* x, int height, float* y, long width)
        where TRows : IStoredRows
    {
        var columns = weight.Columns;
        var rows = (float*)NativeMemory.AlignedAlloc((nuint)(Group * columns * sizeof(float)), 64);
        try
        {
            for (; first < end; first += Group)
            {
                var count = (int)Math.Min(Group, end - first);
                weight.Widen(first, count, rows);
                Products(rows, count, columns, x, height, y + first, width);
            }
        }
        finally
        {
            NativeMemory.AlignedFree(rows);
        }
    }

    private static void Products(float* rows, int count, long columns, float* x, int height, float* y, long width)
    {
        if (count < Group)
        {
            for (var i = 0; i < height; i++, x += columns, y += width)
            {
                for (var row = 0; row < count; row++) y[row] = One(rows + row * columns, x, columns);
            }

            return;
        }

        for (; T.IsWide && height >= 2; height -= 2, x += 2 * columns, y += 2 * width) FourByTwo(rows, columns, x, y, y + width);
        for (; height > 0; height--, x += columns, y += width) FourByOne(rows, columns, x, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByTwo(float* rows, long columns, float* x, float* first, float* second)
    {
        float* row1 = rows + columns, row2 = row1 + columns, row3 = row2 + columns, other = x + columns;
        T a0 = T.Of(0f), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        var i = 0L;
        for (; i <= columns - Width; i += Width)
        {
            T a = T.Load(x + i), b = T.Load(other + i), w = T.Load(rows + i);
            (a0, b0) = (T.FusedMultiplyAdd(w, a, a0), T.FusedMultiplyAdd(w, b, b0));
            w = T.Load(row1 + i);
            (a1, b1) = (T.FusedMultiplyAdd(w, a, a1), T.FusedMultiplyAdd(w, b, b1));
            w = T.Load(row2 + i);
            (a2, b2) = (T.FusedMultiplyAdd(w, a, a2), T.FusedMultiplyAdd(w, b, b2));
            w = T.Load(row3 + i);
            (a3, b3) = (T.FusedMultiplyAdd(w, a, a3), T.FusedMultiplyAdd(w, b, b3));
        }

        if (columns - i is > 0 and var rest)
        {
            T a = Part(x + i, rest), b = Part(other + i, rest), w = Part(rows + i, rest);
            (a0, b0) = (T.FusedMultiplyAdd(w, a, a0), T.FusedMultiplyAdd(w, b, b0));
            w = Part(row1 + i, rest);
            (a1, b1) = (T.FusedMultiplyAdd(w, a, a1), T.FusedMultiplyAdd(w, b, b1));
            w = Part(row2 + i, rest);
            (a2, b2) = (T.FusedMultiplyAdd(w, a, a2), T.FusedMultiplyAdd(w, b, b2));
            w = Part(row3 + i, rest);
            (a3, b3) = (T.FusedMultiplyAdd(w, a, a3), T.FusedMultiplyAdd(w, b, b3));
        }

        (first[0], first[1], first[2], first[3]) = (T.Sum(a0), T.Sum(a1), T.Sum(a2), T.Sum(a3));
        (second[0], second[1], second[2], second[3]) = (T.Sum(b0), T.Sum(b1), T.Sum(b2), T.Sum(b3));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByOne(float* rows, long columns, float* x, float* y)
    {
        float* row1 = rows + columns, row2 = row1 + columns, row3 = row2 + columns;
        T s0 = T.Of(0f), s1 = s0, s2 = s0, s3 = s0;
        var i = 0L;
        for (; i <= columns - Width; i += Width)
        {
            var a = T.Load(x + i);
            s0 = T.FusedMultiplyAdd(T.Load(rows + i), a, s0);
            s1 = T.FusedMultiplyAdd(T.Load(row1 + i), a, s1);
            s2 = T.FusedMultiplyAdd(T.Load(row2 + i), a, s2);
            s3 = T.FusedMultiplyAdd(T.Load(row3 + i), a, s3);
        }

        if (columns - i is > 0 and var rest)
        {
            var a = Part(x + i, rest);
            s0 = T.FusedMultiplyAdd(Part(rows + i, rest), a, s0);
            s1 = T.FusedMultiplyAdd(Part(row1 + i, rest), a, s1);
            s2 = T.FusedMultiplyAdd(Part(row2 + i, rest), a, s2);
            s3 = T.FusedMultiplyAdd(Part(row3 + i, rest), a, s3);
        }

        (y[0], y[1], y[2], y[3]) = (T.Sum(s0), T.Sum(s1), T.Sum(s2), T.Sum(s3));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float One(float* row, float* x, long columns)
    {
        var sum = T.Of(0f);
        var i = 0L;
        for (; i <= columns - Width; i += Width) sum = T.FusedMultiplyAdd(T.Load(row + i), T.Load(x + i), sum);
        if (i < columns) sum = T.FusedMultiplyAdd(Part(row + i, columns - i), Part(x + i, columns - i), sum);
        return T.Sum(sum);
    }

    private static T Part(float* from, long count) => Rows<T>.LoadPart(from, count, 0);
}

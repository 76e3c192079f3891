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
        // Rows whose width is no multiple of sixteen end in zeros, so that the loops have no ends of their own.
        var (columns, stride) = (weight.Columns, (weight.Columns + Width - 1) / Width * Width);
        var isCopied = stride > columns;
        var rows = (float*)NativeMemory.AlignedAlloc((nuint)((Group + (isCopied ? height : 0)) * stride * sizeof(float)), 64);
        try
        {
            if (isCopied)
            {
                var copy = rows + Group * stride;
                new Span<float>(rows, checked((int)((Group + height) * stride))).Clear();
                for (var i = 0; i < height; i++) new ReadOnlySpan<float>(x + i * columns, (int)columns).CopyTo(new(copy + i * stride, (int)columns));
                x = copy;
            }

            for (; first < end; first += Group)
            {
                var count = (int)Math.Min(Group, end - first);
                if (!isCopied) weight.Widen(first, count, rows);
                for (var row = 0; isCopied && row < count; row++) weight.Widen(first + row, 1, rows + row * stride);
                Products(rows, count, stride, x, height, y + first, width);
            }
        }
        finally
        {
            NativeMemory.AlignedFree(rows);
        }
    }

    private static void Products(float* rows, int count, long stride, float* x, int height, float* y, long width)
    {
        if (count < Group)
        {
            for (var i = 0; i < height; i++, x += stride, y += width)
            {
                for (var row = 0; row < count; row++) y[row] = One(rows + row * stride, x, stride);
            }

            return;
        }

        for (; T.IsWide && height >= 4; height -= 4, x += 4 * stride, y += 4 * width) FourByFour(rows, x, stride, y, width);
        for (; T.IsWide && height >= 2; height -= 2, x += 2 * stride, y += 2 * width) FourByTwo(rows, x, stride, y, y + width);
        for (; height > 0; height--, x += stride, y += width) FourByOne(rows, x, stride, y);
    }

    // Sums stay in registers as long as the loop calls nothing.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByFour(float* rows, float* x, long stride, float* y, long width)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride, x1 = x + stride, x2 = x1 + stride, x3 = x2 + stride;
        T a0 = T.Of(0f), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        T c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        for (var i = 0L; i < stride; i += Width)
        {
            T a = T.Load(x + i), b = T.Load(x1 + i), c = T.Load(x2 + i), d = T.Load(x3 + i);
            var w = T.Load(rows + i);
            a0 = T.FusedMultiplyAdd(w, a, a0);
            b0 = T.FusedMultiplyAdd(w, b, b0);
            c0 = T.FusedMultiplyAdd(w, c, c0);
            d0 = T.FusedMultiplyAdd(w, d, d0);
            w = T.Load(row1 + i);
            a1 = T.FusedMultiplyAdd(w, a, a1);
            b1 = T.FusedMultiplyAdd(w, b, b1);
            c1 = T.FusedMultiplyAdd(w, c, c1);
            d1 = T.FusedMultiplyAdd(w, d, d1);
            w = T.Load(row2 + i);
            a2 = T.FusedMultiplyAdd(w, a, a2);
            b2 = T.FusedMultiplyAdd(w, b, b2);
            c2 = T.FusedMultiplyAdd(w, c, c2);
            d2 = T.FusedMultiplyAdd(w, d, d2);
            w = T.Load(row3 + i);
            a3 = T.FusedMultiplyAdd(w, a, a3);
            b3 = T.FusedMultiplyAdd(w, b, b3);
            c3 = T.FusedMultiplyAdd(w, c, c3);
            d3 = T.FusedMultiplyAdd(w, d, d3);
        }

        Sums(a0, a1, a2, a3, y);
        Sums(b0, b1, b2, b3, y + width);
        Sums(c0, c1, c2, c3, y + 2 * width);
        Sums(d0, d1, d2, d3, y + 3 * width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByTwo(float* rows, float* x, long stride, float* y, float* other)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride, x1 = x + stride;
        T a0 = T.Of(0f), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        for (var i = 0L; i < stride; i += Width)
        {
            T a = T.Load(x + i), b = T.Load(x1 + i), w = T.Load(rows + i);
            a0 = T.FusedMultiplyAdd(w, a, a0);
            b0 = T.FusedMultiplyAdd(w, b, b0);
            w = T.Load(row1 + i);
            a1 = T.FusedMultiplyAdd(w, a, a1);
            b1 = T.FusedMultiplyAdd(w, b, b1);
            w = T.Load(row2 + i);
            a2 = T.FusedMultiplyAdd(w, a, a2);
            b2 = T.FusedMultiplyAdd(w, b, b2);
            w = T.Load(row3 + i);
            a3 = T.FusedMultiplyAdd(w, a, a3);
            b3 = T.FusedMultiplyAdd(w, b, b3);
        }

        Sums(a0, a1, a2, a3, y);
        Sums(b0, b1, b2, b3, other);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByOne(float* rows, float* x, long stride, float* y)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride;
        T s0 = T.Of(0f), s1 = s0, s2 = s0, s3 = s0;
        for (var i = 0L; i < stride; i += Width)
        {
            var a = T.Load(x + i);
            s0 = T.FusedMultiplyAdd(T.Load(rows + i), a, s0);
            s1 = T.FusedMultiplyAdd(T.Load(row1 + i), a, s1);
            s2 = T.FusedMultiplyAdd(T.Load(row2 + i), a, s2);
            s3 = T.FusedMultiplyAdd(T.Load(row3 + i), a, s3);
        }

        Sums(s0, s1, s2, s3, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float One(float* row, float* x, long stride)
    {
        var sum = T.Of(0f);
        for (var i = 0L; i < stride; i += Width) sum = T.FusedMultiplyAdd(T.Load(row + i), T.Load(x + i), sum);
        return T.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Sums(T one, T two, T three, T four, float* to)
    {
        to[0] = T.Sum(one);
        to[1] = T.Sum(two);
        to[2] = T.Sum(three);
        to[3] = T.Sum(four);
    }
}

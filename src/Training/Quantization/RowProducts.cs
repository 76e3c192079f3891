using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>
/// Products with a matrix that stays as it is stored: some of its rows at a time are widened into the processor's cache and multiplied
/// there, so that of the matrix no more than what is stored comes from memory. Bits depend on nothing but the numbers of a row of input
/// and the matrix: neither on how many rows there are, nor on the processor's registers.
/// </summary>
internal static unsafe class RowProducts
{
    /// <summary>What the engine's fingerprint says of them. Another number for other bits.</summary>
    public const string Mark = "stored-rows-1";

    /// <summary>
    /// Up to how many rows of input they are faster than widening all rows and multiplying with libtorch, as measured
    /// (docs/performance.md): always, where registers hold sixteen numbers.
    /// </summary>
    public static int MostRows => Vector512.IsHardwareAccelerated ? int.MaxValue : 16;

    /// <summary>y[i, row] = x[i] W[row] for some rows of W.</summary>
    /// <param name="weight">W, <c>[.., Columns]</c>.</param>
    /// <param name="first">The first of its rows.</param>
    /// <param name="end">Behind the last one.</param>
    /// <param name="x"><c>[height, Columns]</c>.</param>
    /// <param name="height">Rows of x.</param>
    /// <param name="y"><c>[height, width]</c>, where the rows' numbers are those of columns.</param>
    /// <param name="width">From row to row of y.</param>
    public static void Multiply<TRows>(TRows weight, long first, long end, float* x, int height, float* y, long width)
        where TRows : IStoredRows
    {
        if (Vector512.IsHardwareAccelerated) RowProducts<WideSixteen>.Multiply(weight, first, end, x, height, y, width);
        else RowProducts<PairedSixteen>.Multiply(weight, first, end, x, height, y, width);
    }

    /// <summary>target[i] = the sum of g[i, row] W[row], or plus that: the way back through <see cref="Multiply"/>.</summary>
    /// <param name="weight">W, <c>[rows, Columns]</c>.</param>
    /// <param name="rows">Its rows.</param>
    /// <param name="g"><c>[height, rows]</c>.</param>
    /// <param name="height">Rows of g.</param>
    /// <param name="target"><c>[height, Columns]</c>.</param>
    /// <param name="keeps">Adds to what is there.</param>
    public static void MultiplyBack<TRows>(TRows weight, long rows, float* g, int height, float* target, bool keeps)
        where TRows : IStoredRows
    {
        if (Vector512.IsHardwareAccelerated) RowProducts<WideSixteen>.MultiplyBack(weight, rows, g, height, target, keeps);
        else RowProducts<PairedSixteen>.MultiplyBack(weight, rows, g, height, target, keeps);
    }
}

/// <summary>The same with registers of a given width, which changes no bit.</summary>
internal static unsafe class RowProducts<T>
    where T : struct, ISixteen<T>
{
    private const int Width = 16;
    private const int Group = Products<T>.Group;

    // Up to so many rows of input a group is read so seldom that it is best left in the nearest cache; above it more of them stay in
    // the next one, so that the input is gone through less often.
    private const int FewRows = 16;
    private const long WidenedBytes = 1 << 18;
    private const int MostWidened = 128;

    /// <inheritdoc cref="RowProducts.Multiply"/>
    public static void Multiply<TRows>(TRows weight, long first, long end, float* x, int height, float* y, long width)
        where TRows : IStoredRows
    {
        var (columns, stride) = (weight.Columns, StrideOf(weight.Columns));
        var atOnce = height <= FewRows ? Group : AtOnce(stride);

        // Where columns are no multiple of sixteen, rows end in zeros, so that the loops have no ends of their own.
        var isCopied = columns % Width != 0;
        var rows = Allocate((atOnce + (isCopied ? height : 0)) * stride);
        try
        {
            var (from, step) = ((nint)x, columns);
            if (isCopied)
            {
                (from, step) = ((nint)(rows + atOnce * stride), stride);
                for (var i = 0; i < height; i++) Copy(x + i * columns, (float*)from + i * stride, columns);
            }

            for (; first < end; first += atOnce)
            {
                var count = (int)Math.Min(atOnce, end - first);
                Widen(weight, first, count, rows, stride);
                Products(rows, stride, count, (float*)from, step, height, (columns + Width - 1) / Width * Width, y + first, width);
            }
        }
        finally
        {
            NativeMemory.AlignedFree(rows);
        }
    }

    /// <inheritdoc cref="RowProducts.MultiplyBack"/>
    public static void MultiplyBack<TRows>(TRows weight, long rows, float* g, int height, float* target, bool keeps)
        where TRows : IStoredRows
    {
        var (columns, stride) = (weight.Columns, StrideOf(weight.Columns));
        var (atOnce, padded) = (AtOnce(stride), (columns + Width - 1) / Width * Width);

        // The last rows of g that are no whole group are copied to one that ends in zeros. So is the target, where columns are no
        // multiple of sixteen.
        var whole = padded == columns ? height / Group * Group : 0;
        var copied = (height - whole + Group - 1) / Group * Group;
        var widened = Allocate(atOnce * stride + copied * (stride + atOnce));
        try
        {
            float* sums = widened + atOnce * stride, gradients = sums + copied * stride;
            for (var i = whole; keeps && i < height; i++) Copy(target + i * columns, sums + (i - whole) * stride, columns);
            for (var first = 0L; first < rows; first += atOnce, keeps = true)
            {
                var count = (int)Math.Min(atOnce, rows - first);
                Widen(weight, first, count, widened, stride);
                Sums(widened, stride, count, g + first, rows, whole, target, columns, padded, keeps);
                for (var i = whole; i < height; i++) Copy(g + i * rows + first, gradients + (i - whole) * atOnce, count);
                Sums(widened, stride, count, gradients, atOnce, copied, sums, stride, padded, keeps);
            }

            for (var i = whole; i < height; i++) Copy(sums + (i - whole) * stride, target + i * columns, columns);
        }
        finally
        {
            NativeMemory.AlignedFree(widened);
        }
    }

    // An odd number of cache lines, so that rows do not crowd into the same places of the cache.
    private static long StrideOf(long columns) => ((columns + Width - 1) / Width | 1) * Width;

    private static int AtOnce(long stride) => (int)Math.Clamp(WidenedBytes / (stride * sizeof(float)) / Group * Group, Group, MostWidened);

    private static float* Allocate(long count)
    {
        var bytes = checked((nuint)(count * sizeof(float)));
        var rows = (float*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(rows, bytes);
        return rows;
    }

    private static void Copy(float* from, float* to, long count) =>
        Buffer.MemoryCopy(from, to, count * sizeof(float), count * sizeof(float));

    private static void Widen<TRows>(TRows weight, long first, int count, float* rows, long stride)
        where TRows : IStoredRows
    {
        if (stride == weight.Columns) weight.Widen(first, count, rows);
        else for (var row = 0; row < count; row++) weight.Widen(first + row, 1, rows + row * stride);
    }

    // A group of rows of g and a strip of columns at a time, which stays in the nearest cache for all of g. What the widened rows give is
    // summed apart and then added: one chain of sums over all rows of an LM head would lose several bits.
    private static void Sums(
        float* widened, long stride, int count, float* g, long rows, int height, float* to, long step, long columns, bool keeps)
    {
        const int Strip = 2 * Width;
        var sums = stackalloc float[Group * Strip];
        for (var column = 0L; column < columns; column += Strip)
        {
            var strip = (int)Math.Min(Strip, columns - column);
            for (var i = 0; i < height; i += Group)
            {
                var target = to + i * step + column;
                Products<T>.Multiply(g + i * rows, rows, 1, widened + column, stride, keeps ? sums : target, keeps ? Strip : step, Group,
                    strip, count, adds: false);
                for (var row = 0; keeps && row < Group; row++) AddTo(target + row * step, sums + row * Strip, strip);
            }
        }
    }

    private static void AddTo(float* target, float* values, int count)
    {
        for (var i = 0; i < count; i += Width) T.Store(T.Load(target + i) + T.Load(values + i), target + i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Products(
        float* rows, long stride, int count, float* x, long step, int height, long columns, float* y, long width)
    {
        while (height > 0)
        {
            var few = T.IsWide && height >= 4 ? 4 : T.IsWide && height >= 2 ? 2 : 1;
            var row = 0;
            for (; row <= count - Group; row += Group)
            {
                var group = rows + row * stride;
                if (few == 4) FourByFour(group, stride, x, step, columns, y + row, width);
                else if (few == 2) FourByTwo(group, stride, x, step, columns, y + row, width);
                else FourByOne(group, stride, x, columns, y + row);
            }

            for (; row < count; row++)
            {
                for (var i = 0; i < few; i++) y[i * width + row] = One(rows + row * stride, x + i * step, columns);
            }

            height -= few;
            x += few * step;
            y += few * width;
        }
    }

    // Sums stay in registers as long as the method calls nothing and is no part of one that does.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByFour(float* rows, long stride, float* x, long step, long columns, float* y, long width)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride, x1 = x + step, x2 = x1 + step, x3 = x2 + step;
        T a0 = T.Of(0f), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        T c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        for (var i = 0L; i < columns; i += Width)
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByTwo(float* rows, long stride, float* x, long step, long columns, float* y, long width)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride, x1 = x + step;
        T a0 = T.Of(0f), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        for (var i = 0L; i < columns; i += Width)
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
        Sums(b0, b1, b2, b3, y + width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void FourByOne(float* rows, long stride, float* x, long columns, float* y)
    {
        float* row1 = rows + stride, row2 = row1 + stride, row3 = row2 + stride;
        T s0 = T.Of(0f), s1 = s0, s2 = s0, s3 = s0;
        for (var i = 0L; i < columns; i += Width)
        {
            var a = T.Load(x + i);
            s0 = T.FusedMultiplyAdd(T.Load(rows + i), a, s0);
            s1 = T.FusedMultiplyAdd(T.Load(row1 + i), a, s1);
            s2 = T.FusedMultiplyAdd(T.Load(row2 + i), a, s2);
            s3 = T.FusedMultiplyAdd(T.Load(row3 + i), a, s3);
        }

        Sums(s0, s1, s2, s3, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float One(float* row, float* x, long columns)
    {
        var sum = T.Of(0f);
        for (var i = 0L; i < columns; i += Width) sum = T.FusedMultiplyAdd(T.Load(row + i), T.Load(x + i), sum);
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

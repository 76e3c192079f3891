using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace FedRLora.Training.Kernels;

/// <summary>
/// Sixteen float32 at once: one wide register, or two of half the width. Whatever the processor has, every operation is rounded alike
/// and <see cref="Sum"/> adds in one order, so kernels written over it give the same bits everywhere.
/// </summary>
internal unsafe interface ISixteen<T>
    where T : struct, ISixteen<T>
{
    /// <summary>One register, so that more of them are free.</summary>
    static abstract bool IsWide { get; }

    /// <summary>The same number sixteen times.</summary>
    static abstract T Of(float value);

    /// <summary>From memory, aligned or not.</summary>
    static abstract T Load(float* from);

    /// <summary>To memory, aligned or not.</summary>
    static abstract void Store(T x, float* to);

    /// <summary>Whole numbers from 0 to 255.</summary>
    static abstract T Of(Vector128<byte> codes);

    /// <summary>Whole numbers from -128 to 127.</summary>
    static abstract T Of(Vector128<sbyte> codes);

    /// <summary>Sixteen float16 from memory, aligned or not; exact, whether or not the processor flushes subnormal numbers.</summary>
    static abstract T LoadHalves(byte* from);

    /// <summary>Sixteen bfloat16 from memory, aligned or not.</summary>
    static abstract T LoadBrains(byte* from);

    /// <summary>Of a table of sixteen the numbers at these places, each from 0 to 15.</summary>
    static abstract T Pick(T table, Vector128<byte> places);

    static abstract T operator +(T left, T right);

    static abstract T operator -(T left, T right);

    static abstract T operator *(T left, T right);

    static abstract T operator /(T left, T right);

    /// <summary>left right + sum, rounded once.</summary>
    static abstract T FusedMultiplyAdd(T left, T right, T sum);

    static abstract T Sqrt(T x);

    static abstract T Abs(T x);

    /// <summary>The greater of each two; where one is no number, either.</summary>
    static abstract T Max(T left, T right);

    /// <summary>Where <paramref name="x"/> is at least the bound, one; below it the other; NaN counts as at least.</summary>
    static abstract T Choose(T x, float bound, T atLeast, T below);

    /// <summary>2^n, n the whole number in the low bits of n + 1.5 2^23; from -126 to 127.</summary>
    static abstract T PowerOfTwo(T shifted);

    /// <summary>Of the sixteen: halves onto each other until one is left.</summary>
    static abstract float Sum(T x);

    /// <summary>The greatest of the sixteen.</summary>
    static abstract float Highest(T x);
}

/// <summary>In one register.</summary>
internal readonly unsafe struct WideSixteen(Vector512<float> all) : ISixteen<WideSixteen>
{
    private readonly Vector512<float> _all = all;

    public static bool IsWide => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Of(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Load(float* from) => new(Vector512.Load(from));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(WideSixteen x, float* to) => x._all.Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Of(Vector128<byte> codes) => new(Vector512.ConvertToSingle(Whole(codes)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Of(Vector128<sbyte> codes)
    {
        if (Avx512F.IsSupported) return new(Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(codes)));
        var (low, high) = Vector128.Widen(codes);
        return new(Vector512.ConvertToSingle(Vector512.Create(
            Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)),
            Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)))));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen LoadHalves(byte* from) => new(Float16.Widen(Whole(Vector256.Load((ushort*)from))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen LoadBrains(byte* from) => new((Whole(Vector256.Load((ushort*)from)) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Pick(WideSixteen table, Vector128<byte> places) => new(Vector512.Shuffle(table._all, Whole(places)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen operator +(WideSixteen left, WideSixteen right) => new(left._all + right._all);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen operator -(WideSixteen left, WideSixteen right) => new(left._all - right._all);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen operator *(WideSixteen left, WideSixteen right) => new(left._all * right._all);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen operator /(WideSixteen left, WideSixteen right) => new(left._all / right._all);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen FusedMultiplyAdd(WideSixteen left, WideSixteen right, WideSixteen sum) =>
        new(Vector512.FusedMultiplyAdd(left._all, right._all, sum._all));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Sqrt(WideSixteen x) => new(Vector512.Sqrt(x._all));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Abs(WideSixteen x) => new(Vector512.Abs(x._all));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Max(WideSixteen left, WideSixteen right) => new(Vector512.MaxNative(left._all, right._all));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen Choose(WideSixteen x, float bound, WideSixteen atLeast, WideSixteen below) =>
        new(Vector512.ConditionalSelect(Vector512.LessThan(x._all, Vector512.Create(bound)), below._all, atLeast._all));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideSixteen PowerOfTwo(WideSixteen shifted) => new(((shifted._all.AsInt32() + Vector512.Create(127)) << 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(WideSixteen x) => Fold.Sum(x._all.GetLower() + x._all.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Highest(WideSixteen x) => Fold.Highest(Vector256.MaxNative(x._all.GetLower(), x._all.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Whole(Vector128<byte> codes)
    {
        if (Avx512F.IsSupported) return Avx512F.ConvertToVector512Int32(codes);
        var (low, high) = Vector128.Widen(codes);
        return Whole(Vector256.Create(low, high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Whole(Vector256<ushort> codes)
    {
        if (Avx512F.IsSupported) return Avx512F.ConvertToVector512Int32(codes);
        var (low, high) = Vector256.Widen(codes);
        return Vector512.Create(low, high).AsInt32();
    }
}

/// <summary>In two registers.</summary>
internal readonly unsafe struct PairedSixteen(Vector256<float> low, Vector256<float> high) : ISixteen<PairedSixteen>
{
    private readonly Vector256<float> _low = low;
    private readonly Vector256<float> _high = high;

    public static bool IsWide => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Of(float value) => new(Vector256.Create(value), Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Load(float* from) => new(Vector256.Load(from), Vector256.Load(from + 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(PairedSixteen x, float* to)
    {
        x._low.Store(to);
        x._high.Store(to + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Of(Vector128<byte> codes)
    {
        var (low, high) = Whole(codes);
        return new(Vector256.ConvertToSingle(low), Vector256.ConvertToSingle(high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Of(Vector128<sbyte> codes)
    {
        var (low, high) = Vector128.Widen(codes);
        return new(Vector256.ConvertToSingle(Whole(low)), Vector256.ConvertToSingle(Whole(high)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen LoadHalves(byte* from) => new(
        Float16.Widen(Whole(Vector128.Load((ushort*)from))), Float16.Widen(Whole(Vector128.Load((ushort*)from + 8))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen LoadBrains(byte* from) => new(
        (Whole(Vector128.Load((ushort*)from)) << 16).AsSingle(), (Whole(Vector128.Load((ushort*)from + 8)) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Pick(PairedSixteen table, Vector128<byte> places)
    {
        var (low, high) = Whole(places);
        return new(EightOf(table, low), EightOf(table, high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen operator +(PairedSixteen left, PairedSixteen right) =>
        new(left._low + right._low, left._high + right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen operator -(PairedSixteen left, PairedSixteen right) =>
        new(left._low - right._low, left._high - right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen operator *(PairedSixteen left, PairedSixteen right) =>
        new(left._low * right._low, left._high * right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen operator /(PairedSixteen left, PairedSixteen right) =>
        new(left._low / right._low, left._high / right._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen FusedMultiplyAdd(PairedSixteen left, PairedSixteen right, PairedSixteen sum) =>
        new(Vector256.FusedMultiplyAdd(left._low, right._low, sum._low), Vector256.FusedMultiplyAdd(left._high, right._high, sum._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Sqrt(PairedSixteen x) => new(Vector256.Sqrt(x._low), Vector256.Sqrt(x._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Abs(PairedSixteen x) => new(Vector256.Abs(x._low), Vector256.Abs(x._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Max(PairedSixteen left, PairedSixteen right) =>
        new(Vector256.MaxNative(left._low, right._low), Vector256.MaxNative(left._high, right._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen Choose(PairedSixteen x, float bound, PairedSixteen atLeast, PairedSixteen below) => new(
        Vector256.ConditionalSelect(Vector256.LessThan(x._low, Vector256.Create(bound)), below._low, atLeast._low),
        Vector256.ConditionalSelect(Vector256.LessThan(x._high, Vector256.Create(bound)), below._high, atLeast._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairedSixteen PowerOfTwo(PairedSixteen shifted) => new(
        ((shifted._low.AsInt32() + Vector256.Create(127)) << 23).AsSingle(),
        ((shifted._high.AsInt32() + Vector256.Create(127)) << 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(PairedSixteen x) => Fold.Sum(x._low + x._high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Highest(PairedSixteen x) => Fold.Highest(Vector256.MaxNative(x._low, x._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> EightOf(PairedSixteen table, Vector256<int> places) => Vector256.ConditionalSelect(
        Vector256.GreaterThan(places, Vector256.Create(7)).AsSingle(),
        Vector256.Shuffle(table._high, places & Vector256.Create(7)), Vector256.Shuffle(table._low, places & Vector256.Create(7)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<int> Low, Vector256<int> High) Whole(Vector128<byte> codes)
    {
        var (low, high) = Vector128.Widen(codes);
        return (Whole(low), Whole(high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Whole(Vector128<ushort> codes) => Avx2.IsSupported
        ? Avx2.ConvertToVector256Int32(codes)
        : Vector256.Create(Vector128.WidenLower(codes), Vector128.WidenUpper(codes)).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Whole(Vector128<short> codes) => Avx2.IsSupported
        ? Avx2.ConvertToVector256Int32(codes)
        : Vector256.Create(Vector128.WidenLower(codes), Vector128.WidenUpper(codes));
}

file static class Fold
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vector256<float> eight)
    {
        var four = eight.GetLower() + eight.GetUpper();
        return four[0] + four[2] + (four[1] + four[3]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Highest(Vector256<float> eight)
    {
        var four = Vector128.MaxNative(eight.GetLower(), eight.GetUpper());
        return MathF.Max(MathF.Max(four[0], four[2]), MathF.Max(four[1], four[3]));
    }
}

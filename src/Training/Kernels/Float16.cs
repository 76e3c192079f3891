using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace FedRLora.Training.Kernels;

/// <summary>
/// Bits of float16, one in each whole number, as float32: exact, whether or not the processor flushes subnormal numbers, for none is
/// computed with.
/// </summary>
internal static class Float16
{
    private const int Sign = 0x8000;
    private const int Size = 0x7FFF;

    // By how many places a fraction is longer in float32.
    private const int Shift = 13;

    // What an exponent is greater by in float32, and once more where it stands for infinity.
    private const int Bias = 112 << 23;
    private const int Infinite = 31 << 23;

    // An exponent of one. A smaller size is subnormal: with that exponent it reads as too great by the least normal number.
    private const int One = 1 << 23;
    private const float LeastNormal = 1f / (1 << 14);

    /// <summary>Four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Widen(Vector128<int> bits)
    {
        var size = (bits & Vector128.Create(Size)) << Shift;
        var normal = size + Vector128.Create(Bias);
        var subnormal = (normal + Vector128.Create(One)).AsSingle() - Vector128.Create(LeastNormal);
        var value = Vector128.ConditionalSelect(
            Vector128.LessThan(size, Vector128.Create(One)), subnormal.AsInt32(),
            normal + (Vector128.GreaterThanOrEqual(size, Vector128.Create(Infinite)) & Vector128.Create(Bias)));
        return (value | ((bits & Vector128.Create(Sign)) << 16)).AsSingle();
    }

    /// <summary>Eight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Widen(Vector256<int> bits)
    {
        var size = (bits & Vector256.Create(Size)) << Shift;
        var normal = size + Vector256.Create(Bias);
        var subnormal = (normal + Vector256.Create(One)).AsSingle() - Vector256.Create(LeastNormal);
        var value = Vector256.ConditionalSelect(
            Vector256.LessThan(size, Vector256.Create(One)), subnormal.AsInt32(),
            normal + (Vector256.GreaterThanOrEqual(size, Vector256.Create(Infinite)) & Vector256.Create(Bias)));
        return (value | ((bits & Vector256.Create(Sign)) << 16)).AsSingle();
    }

    /// <summary>Sixteen.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Widen(Vector512<int> bits)
    {
        var size = (bits & Vector512.Create(Size)) << Shift;
        var normal = size + Vector512.Create(Bias);
        var subnormal = (normal + Vector512.Create(One)).AsSingle() - Vector512.Create(LeastNormal);
        var value = Vector512.ConditionalSelect(
            Vector512.LessThan(size, Vector512.Create(One)), subnormal.AsInt32(),
            normal + (Vector512.GreaterThanOrEqual(size, Vector512.Create(Infinite)) & Vector512.Create(Bias)));
        return (value | ((bits & Vector512.Create(Sign)) << 16)).AsSingle();
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Gguf;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>ggml's blocks sixteen values at a time, to the bits of <see cref="PlainBlocks"/>.</summary>
internal static unsafe class BlockKernels<T>
    where T : struct, ISixteen<T>
{
    private const int Width = 16;

    /// <inheritdoc cref="PlainBlocks.Widen"/>
    public static void Widen(GgmlType type, byte* blocks, float* target, long values)
    {
        switch (type)
        {
            case GgmlType.F32:
                Buffer.MemoryCopy(blocks, target, values * sizeof(float), values * sizeof(float));
                break;
            case GgmlType.F16:
                F16(blocks, target, values);
                break;
            case GgmlType.BF16:
                BF16(blocks, target, values);
                break;
            case GgmlType.Q8_0:
                Q8_0(blocks, target, values);
                break;
            case GgmlType.Q4_0:
                Q4_0(blocks, target, values);
                break;
            case GgmlType.Q4_1:
                Q4_1(blocks, target, values);
                break;
            case GgmlType.Q5_0:
                Q5_0(blocks, target, values);
                break;
            case GgmlType.Q5_1:
                Q5_1(blocks, target, values);
                break;
            case GgmlType.Q4_K:
                Q4_K(blocks, target, values);
                break;
            case GgmlType.Q5_K:
                Q5_K(blocks, target, values);
                break;
            case GgmlType.Q6_K:
                Q6_K(blocks, target, values);
                break;
            default:
                PlainBlocks.Widen(type, blocks, target, values);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void F16(byte* from, float* target, long values)
    {
        var i = 0L;
        for (; i <= values - Width; i += Width) T.Store(T.LoadHalves(from + 2 * i), target + i);
        for (; i < values; i++) target[i] = PlainBlocks.Half(from + 2 * i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BF16(byte* from, float* target, long values)
    {
        var i = 0L;
        for (; i <= values - Width; i += Width) T.Store(T.LoadBrains(from + 2 * i), target + i);
        for (; i < values; i++) target[i] = PlainBlocks.Brain(from + 2 * i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q8_0(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; target += 32, block += 34)
        {
            var scale = T.Of(Half(block));
            T.Store(scale * T.Of(Vector128.Load((sbyte*)block + 2)), target);
            T.Store(scale * T.Of(Vector128.Load((sbyte*)block + 18)), target + Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q4_0(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; target += 32, block += 18)
        {
            var (scale, codes, less) = (T.Of(Half(block)), Vector128.Load(block + 2), Vector128.Create((sbyte)8));
            T.Store(scale * T.Of(Low(codes).AsSByte() - less), target);
            T.Store(scale * T.Of(High(codes).AsSByte() - less), target + Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q4_1(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; target += 32, block += 20)
        {
            var (first, second) = Halves(block);
            var (scale, minimum, codes) = (T.Of(first), T.Of(second), Vector128.Load(block + 4));
            T.Store(scale * T.Of(Low(codes)) + minimum, target);
            T.Store(scale * T.Of(High(codes)) + minimum, target + Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q5_0(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; target += 32, block += 22)
        {
            var (scale, codes, less) = (T.Of(Half(block)), Vector128.Load(block + 6), Vector128.Create((sbyte)16));
            T.Store(scale * T.Of((Low(codes) | Fifth(block + 2)).AsSByte() - less), target);
            T.Store(scale * T.Of((High(codes) | Fifth(block + 4)).AsSByte() - less), target + Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q5_1(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; target += 32, block += 24)
        {
            var (first, second) = Halves(block);
            var (scale, minimum, codes) = (T.Of(first), T.Of(second), Vector128.Load(block + 8));
            T.Store(scale * T.Of(Low(codes) | Fifth(block + 4)) + minimum, target);
            T.Store(scale * T.Of(High(codes) | Fifth(block + 6)) + minimum, target + Width);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q4_K(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; block += 144)
        {
            var (scale, minimum) = Halves(block);
            for (var part = 0; part < 8; part += 2, target += 64)
            {
                var (low, lowLess) = Scale(block + 4, part, scale, minimum);
                var (high, highLess) = Scale(block + 4, part + 1, scale, minimum);
                Vector128<byte> first = Vector128.Load(block + 16 + part * 16), second = Vector128.Load(block + 32 + part * 16);
                T.Store(low * T.Of(Low(first)) - lowLess, target);
                T.Store(low * T.Of(Low(second)) - lowLess, target + Width);
                T.Store(high * T.Of(High(first)) - highLess, target + 2 * Width);
                T.Store(high * T.Of(High(second)) - highLess, target + 3 * Width);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q5_K(byte* block, float* target, long values)
    {
        for (var end = target + values; target < end; block += 176)
        {
            var (scale, minimum) = Halves(block);
            Vector128<byte> fifth = Vector128.Load(block + 16), other = Vector128.Load(block + 32);
            for (var part = 0; part < 8; part += 2, target += 64)
            {
                var (low, lowLess) = Scale(block + 4, part, scale, minimum);
                var (high, highLess) = Scale(block + 4, part + 1, scale, minimum);
                Vector128<byte> first = Vector128.Load(block + 48 + part * 16), second = Vector128.Load(block + 64 + part * 16);
                T.Store(low * T.Of(Low(first) | Bit(fifth, part)) - lowLess, target);
                T.Store(low * T.Of(Low(second) | Bit(other, part)) - lowLess, target + Width);
                T.Store(high * T.Of(High(first) | Bit(fifth, part + 1)) - highLess, target + 2 * Width);
                T.Store(high * T.Of(High(second) | Bit(other, part + 1)) - highLess, target + 3 * Width);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<byte> Bit(Vector128<byte> bits, int number)
        {
            var place = Vector128.Create((byte)(1 << number));
            return Vector128.Equals(bits & place, place) & Vector128.Create((byte)16);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Q6_K(byte* block, float* target, long values)
    {
        var less = Vector128.Create((sbyte)32);
        for (var end = target + values; target < end; block += 210)
        {
            var (scale, scales) = (Half(block + 208), (nint)(block + 192));
            byte* low = block, high = block + 128;
            for (var half = 0; half < 2; half++, low += 64, high += 32, scales += 8, target += 128)
            {
                for (var side = 0; side < 2; side++)
                {
                    var times = (sbyte*)scales + side;
                    var at = target + side * Width;
                    Vector128<byte> first = Vector128.Load(low + side * Width), second = Vector128.Load(low + 32 + side * Width);
                    var upper = Vector128.Load(high + side * Width);
                    T.Store(T.Of(scale * times[0]) * T.Of((Low(first) | Two(upper.AsUInt16() << 4)).AsSByte() - less), at);
                    T.Store(T.Of(scale * times[2]) * T.Of((Low(second) | Two(upper.AsUInt16() << 2)).AsSByte() - less), at + 32);
                    T.Store(T.Of(scale * times[4]) * T.Of((High(first) | Two(upper.AsUInt16())).AsSByte() - less), at + 64);
                    T.Store(T.Of(scale * times[6]) * T.Of((High(second) | Two(upper.AsUInt16() >> 2)).AsSByte() - less), at + 96);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<byte> Two(Vector128<ushort> bits) => bits.AsByte() & Vector128.Create((byte)0x30);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (T Scale, T Minimum) Scale(byte* scales, int part, float scale, float minimum)
    {
        var (times, less) = PlainBlocks.ScaleOf(scales, part);
        return (T.Of(scale * times), T.Of(minimum * less));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Low(Vector128<byte> codes) => codes & Vector128.Create((byte)0xF);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> High(Vector128<byte> codes) => (codes.AsUInt16() >> 4).AsByte() & Vector128.Create((byte)0xF);

    // Sixteen bits to sixteen bytes of 0 or 16.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Fifth(byte* bits)
    {
        var places = Vector128.Create(0x8040201008040201UL).AsByte();
        var both = Vector128.Create(bits[0] * 0x0101010101010101UL, bits[1] * 0x0101010101010101UL).AsByte();
        return Vector128.Equals(both & places, places) & Vector128.Create((byte)16);
    }

    // As PlainBlocks.Half, in fewer steps.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Half(byte* at) => Float16.Widen(Vector128.CreateScalarUnsafe((int)Unsafe.ReadUnaligned<ushort>(at))).ToScalar();

    // Two that lie side by side.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (float First, float Second) Halves(byte* at)
    {
        var bits = Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<uint>(at)).AsUInt16();
        var both = Float16.Widen(Vector128.WidenLower(bits).AsInt32());
        return (both.ToScalar(), both.GetElement(1));
    }
}

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using FedRLora.Training.Gguf;

namespace FedRLora.Training.Quantization;

/// <summary>
/// ggml's blocks one value after the other, as ggml's <c>dequantize_row_*</c> widens them: every product and sum is rounded to float32
/// for itself. The kernels over registers give the same bits.
/// </summary>
internal static unsafe class PlainBlocks
{
    /// <summary>Widens blocks to float32.</summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Aligned or not.</param>
    /// <param name="target">As many numbers as <paramref name="values"/>.</param>
    /// <param name="values">A multiple of the block's.</param>
    public static void Widen(GgmlType type, byte* blocks, float* target, long values)
    {
        var (width, bytes) = (type.BlockValues(), type.BlockBytes());
        delegate*<byte*, float*, void> widen = type switch
        {
            GgmlType.F32 => &F32,
            GgmlType.F16 => &F16,
            GgmlType.BF16 => &BF16,
            GgmlType.Q8_0 => &Q8_0,
            GgmlType.Q4_0 => &Q4_0,
            GgmlType.Q4_1 => &Q4_1,
            GgmlType.Q5_0 => &Q5_0,
            GgmlType.Q5_1 => &Q5_1,
            GgmlType.Q4_K => &Q4_K,
            GgmlType.Q5_K => &Q5_K,
            GgmlType.Q6_K => &Q6_K,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "is not read"),
        };
        for (var end = target + values; target < end; target += width, blocks += bytes) widen(blocks, target);
    }

    /// <summary>A float16, aligned or not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Half(byte* at) => (float)BitConverter.UInt16BitsToHalf(Unsafe.ReadUnaligned<ushort>(at));

    /// <summary>A bfloat16, aligned or not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Brain(byte* at) => BitConverter.UInt32BitsToSingle((uint)Unsafe.ReadUnaligned<ushort>(at) << 16);

    /// <summary>Scale and minimum, six bits each, of one of a block's eight parts, from the twelve bytes of Q4_K and Q5_K.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int Scale, int Minimum) ScaleOf(byte* scales, int part) => part < 4
        ? (scales[part] & 63, scales[part + 4] & 63)
        : (scales[part + 4] & 0xF | scales[part - 4] >> 6 << 4, scales[part + 4] >> 4 | scales[part] >> 6 << 4);

    private static void F32(byte* block, float* target) => *target = Unsafe.ReadUnaligned<float>(block);

    private static void F16(byte* block, float* target) => *target = Half(block);

    private static void BF16(byte* block, float* target) => *target = Brain(block);

    private static void Q8_0(byte* block, float* target)
    {
        var scale = Half(block);
        for (var i = 0; i < 32; i++) target[i] = scale * (sbyte)block[2 + i];
    }

    private static void Q4_0(byte* block, float* target)
    {
        var scale = Half(block);
        for (var i = 0; i < 16; i++)
        {
            target[i] = scale * ((block[2 + i] & 0xF) - 8);
            target[16 + i] = scale * ((block[2 + i] >> 4) - 8);
        }
    }

    private static void Q4_1(byte* block, float* target)
    {
        var (scale, minimum) = (Half(block), Half(block + 2));
        for (var i = 0; i < 16; i++)
        {
            target[i] = scale * (block[4 + i] & 0xF) + minimum;
            target[16 + i] = scale * (block[4 + i] >> 4) + minimum;
        }
    }

    private static void Q5_0(byte* block, float* target)
    {
        var (scale, fifth) = (Half(block), Fifth(block + 2));
        for (var i = 0; i < 16; i++)
        {
            target[i] = scale * ((block[6 + i] & 0xF | (fifth >> i & 1) << 4) - 16);
            target[16 + i] = scale * ((block[6 + i] >> 4 | (fifth >> i + 16 & 1) << 4) - 16);
        }
    }

    private static void Q5_1(byte* block, float* target)
    {
        var (scale, minimum, fifth) = (Half(block), Half(block + 2), Fifth(block + 4));
        for (var i = 0; i < 16; i++)
        {
            target[i] = scale * (block[8 + i] & 0xF | (fifth >> i & 1) << 4) + minimum;
            target[16 + i] = scale * (block[8 + i] >> 4 | (fifth >> i + 16 & 1) << 4) + minimum;
        }
    }

    private static void Q4_K(byte* block, float* target)
    {
        var (scale, minimum) = (Half(block), Half(block + 2));
        for (var part = 0; part < 8; part++, target += 32)
        {
            var (times, less) = ScaleOf(block + 4, part);
            float d = scale * times, m = minimum * less;
            byte* from = block + 16 + part / 2 * 32;
            var shift = part % 2 * 4;
            for (var i = 0; i < 32; i++) target[i] = d * (from[i] >> shift & 0xF) - m;
        }
    }

    private static void Q5_K(byte* block, float* target)
    {
        var (scale, minimum) = (Half(block), Half(block + 2));
        for (var part = 0; part < 8; part++, target += 32)
        {
            var (times, less) = ScaleOf(block + 4, part);
            float d = scale * times, m = minimum * less;
            byte* fifth = block + 16, from = block + 48 + part / 2 * 32;
            var shift = part % 2 * 4;
            for (var i = 0; i < 32; i++) target[i] = d * (from[i] >> shift & 0xF | (fifth[i] >> part & 1) << 4) - m;
        }
    }

    private static void Q6_K(byte* block, float* target)
    {
        byte* low = block, high = block + 128;
        var scales = (sbyte*)block + 192;
        var scale = Half(block + 208);
        for (var half = 0; half < 2; half++, low += 64, high += 32, scales += 8, target += 128)
        {
            for (var quarter = 0; quarter < 4; quarter++)
            {
                var from = low + quarter % 2 * 32;
                var shift = quarter / 2 * 4;
                for (var i = 0; i < 32; i++)
                {
                    var code = (from[i] >> shift & 0xF | (high[i] >> 2 * quarter & 3) << 4) - 32;
                    target[32 * quarter + i] = scale * scales[2 * quarter + i / 16] * code;
                }
            }
        }
    }

    private static int Fifth(byte* at) => BinaryPrimitives.ReadInt32LittleEndian(new ReadOnlySpan<byte>(at, 4));
}

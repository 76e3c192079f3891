using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Gguf;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>Blocks of a GGUF file as float32, to the bit what ggml and its Python package <c>gguf</c> read.</summary>
internal static unsafe class GgmlBlocks
{
    /// <summary>Widens blocks to float32.</summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Aligned or not.</param>
    /// <param name="target">As many numbers as <paramref name="values"/>.</param>
    /// <param name="values">A multiple of the block's.</param>
    public static void Widen(GgmlType type, byte* blocks, float* target, long values)
    {
        if (Vector512.IsHardwareAccelerated) BlockKernels<WideSixteen>.Widen(type, blocks, target, values);
        else if (Vector128.IsHardwareAccelerated) BlockKernels<PairedSixteen>.Widen(type, blocks, target, values);
        else PlainBlocks.Widen(type, blocks, target, values);
    }

    /// <summary>
    /// The first value that is infinite or no number, or -1. Of quantized types the scales alone are looked at: one that is not finite
    /// leaves no value of its block finite, and with finite ones no value can leave float32's range.
    /// </summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Aligned or not.</param>
    /// <param name="values">A multiple of the block's.</param>
    public static long FirstNotFinite(GgmlType type, byte* blocks, long values)
    {
        switch (type)
        {
            case GgmlType.F32:
                for (var i = 0L; i < values; i++)
                {
                    if (!float.IsFinite(Unsafe.ReadUnaligned<float>(blocks + 4 * i))) return i;
                }

                return -1;
            case GgmlType.F16:
                return FirstFullExponent(blocks, values, 2, 0x7C00);
            case GgmlType.BF16:
                return FirstFullExponent(blocks, values, 2, 0x7F80);
        }

        var (at, second) = type switch
        {
            GgmlType.Q4_1 or GgmlType.Q5_1 or GgmlType.Q4_K or GgmlType.Q5_K => (0, 2),
            GgmlType.Q6_K => (208, 208),
            _ => (0, 0),
        };
        var (count, bytes) = (values / type.BlockValues(), type.BlockBytes());
        var first = FirstFullExponent(blocks + at, count, bytes, 0x7C00);
        if (second != at && FirstFullExponent(blocks + second, first < 0 ? count : first, bytes, 0x7C00) is >= 0 and var other)
            first = other;
        return first < 0 ? -1 : first * type.BlockValues();
    }

    // Of 16-bit floats at equal distances the first whose exponent has all bits, or -1.
    private static long FirstFullExponent(byte* at, long count, int distance, int exponent)
    {
        for (var i = 0L; i < count; i++, at += distance)
        {
            if ((Unsafe.ReadUnaligned<ushort>(at) & exponent) == exponent) return i;
        }

        return -1;
    }
}

using System.Runtime.CompilerServices;
using FedRLora.Training.Gguf;

namespace FedRLora.Training.Quantization;

/// <summary>Float32 as blocks of a GGUF file, byte for byte what ggml and its Python package <c>gguf</c> write.</summary>
internal static unsafe class GgmlQuantizer
{
    private const int Q8Values = 32;

    /// <summary>The types that are written.</summary>
    public static IReadOnlyList<GgmlType> Types { get; } = [GgmlType.F32, GgmlType.F16, GgmlType.BF16, GgmlType.Q8_0];

    /// <summary>Writes values as blocks.</summary>
    /// <param name="type">One of <see cref="Types"/>.</param>
    /// <param name="source">As many numbers as <paramref name="values"/>.</param>
    /// <param name="values">A multiple of the block's.</param>
    /// <param name="blocks">Aligned or not.</param>
    /// <returns>
    /// -1, or the first value that does not fit: infinite, no number, beyond the type's greatest, or its block's greatest where that
    /// one's scale is beyond float16. Then what was written means nothing.
    /// </returns>
    public static long Write(GgmlType type, float* source, long values, byte* blocks) => type switch
    {
        GgmlType.F32 => F32(source, values, blocks),
        GgmlType.F16 => F16(source, values, blocks),
        GgmlType.BF16 => BF16(source, values, blocks),
        GgmlType.Q8_0 => Q8_0(source, values, blocks),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, $"is not written; {string.Join(", ", Types)} are"),
    };

    private static long F32(float* source, long values, byte* blocks)
    {
        for (var i = 0L; i < values; i++)
        {
            if (!float.IsFinite(source[i])) return i;
            Unsafe.WriteUnaligned(blocks + 4 * i, source[i]);
        }

        return -1;
    }

    private static long F16(float* source, long values, byte* blocks)
    {
        for (var i = 0L; i < values; i++)
        {
            var half = (Half)source[i];
            if (!Half.IsFinite(half)) return i;
            Unsafe.WriteUnaligned(blocks + 2 * i, half);
        }

        return -1;
    }

    // Rounded to the nearest, ties to even; of a number near float32's greatest the carry makes it infinite.
    private static long BF16(float* source, long values, byte* blocks)
    {
        for (var i = 0L; i < values; i++)
        {
            var bits = BitConverter.SingleToUInt32Bits(source[i]);
            var rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
            if (!float.IsFinite(source[i]) || (rounded & 0x7F80) == 0x7F80) return i;
            Unsafe.WriteUnaligned(blocks + 2 * i, (ushort)rounded);
        }

        return -1;
    }

    private static long Q8_0(float* source, long values, byte* blocks)
    {
        for (var first = 0L; first < values; first += Q8Values, blocks += 34)
        {
            var (most, place) = (0f, first);
            for (var i = first; i < first + Q8Values; i++)
            {
                var size = MathF.Abs(source[i]);
                if (!float.IsFinite(size)) return i;
                if (size > most) (most, place) = (size, i);
            }

            // The codes are those of the scale before it is rounded.
            var scale = most / 127;
            var half = (Half)scale;
            if (!Half.IsFinite(half)) return place;
            Unsafe.WriteUnaligned(blocks, half);

            // Of a block so small that this is infinite the scale is written as 0, whatever the codes.
            var times = scale == 0 ? 0 : 1 / scale;
            if (!float.IsFinite(times)) times = 0;
            for (var i = 0; i < Q8Values; i++)
                blocks[2 + i] = (byte)(sbyte)MathF.Round(source[first + i] * times, MidpointRounding.AwayFromZero);
        }

        return -1;
    }
}

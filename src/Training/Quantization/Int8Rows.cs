using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>Signed bytes with one magnitude for each row, as LLM.int8 stores weights and bitsandbytes makes them.</summary>
internal static unsafe class Int8Rows
{
    // 1 / 127, as bitsandbytes writes it.
    private const float Step = 0.007874015718698502f;

    // A greater one leaves float32 when it is multiplied back.
    private const float Most = float.MaxValue / 127;

    /// <summary>Quantizes rows.</summary>
    /// <param name="source"><c>[rows, columns]</c>.</param>
    /// <param name="rows">How many.</param>
    /// <param name="columns">Of each.</param>
    /// <param name="codes">As many bytes as numbers.</param>
    /// <param name="absmax">A magnitude for each row.</param>
    /// <returns>
    /// -1, or the first value that is infinite, no number, or so great that it would widen to infinity; then nothing that was written
    /// means anything.
    /// </returns>
    public static long Quantize(float* source, long rows, long columns, sbyte* codes, float* absmax)
    {
        for (var row = 0L; row < rows; row++, source += columns, codes += columns)
        {
            var most = 0f;
            for (var i = 0L; i < columns; i++)
            {
                var size = MathF.Abs(source[i]);
                if (!(size <= Most)) return row * columns + i;
                if (size > most) most = size;
            }

            // Not 127 / most: a number is divided by a tensor as a product with its reciprocal. Of a row so small that this is
            // infinite nothing is kept.
            var scale = 1 / most * 127;
            if (!float.IsFinite(scale)) scale = 0;
            absmax[row] = most;
            for (var i = 0L; i < columns; i++) codes[i] = (sbyte)MathF.Round(source[i] * scale);
        }

        return -1;
    }

    /// <summary>Widens rows.</summary>
    /// <param name="codes"><c>[.., columns]</c>, from the first row.</param>
    /// <param name="absmax">From the first row.</param>
    /// <param name="rows">How many.</param>
    /// <param name="columns">Of each.</param>
    /// <param name="target">As many numbers.</param>
    public static void Widen(sbyte* codes, float* absmax, long rows, long columns, float* target)
    {
        if (Vector512.IsHardwareAccelerated) Widen<WideSixteen>(codes, absmax, rows, columns, target);
        else Widen<PairedSixteen>(codes, absmax, rows, columns, target);
    }

    /// <summary>The same with registers of a given width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<T>(sbyte* codes, float* absmax, long rows, long columns, float* target)
        where T : struct, ISixteen<T>
    {
        for (var row = 0L; row < rows; row++, codes += columns, target += columns)
        {
            T most = T.Of(absmax[row]), step = T.Of(Step);
            var i = 0L;
            for (; i <= columns - 16; i += 16) T.Store(T.Of(Vector128.Load(codes + i)) * most * step, target + i);
            for (; i < columns; i++) target[i] = codes[i] * absmax[row] * Step;
        }
    }
}

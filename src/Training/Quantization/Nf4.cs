using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Training.Kernels;

namespace FedRLora.Training.Quantization;

/// <summary>
/// The four-bit NormalFloat of QLoRA, packed as bitsandbytes packs it: blocks run over the flattened tensor, each value is the number
/// of one of sixteen codes times its block's largest magnitude. By double quantization those magnitudes are bytes themselves.
/// </summary>
internal static unsafe class Nf4
{
    /// <summary>Values that share a magnitude.</summary>
    public const int Block = 64;

    /// <summary>Magnitudes that share a second one.</summary>
    public const int SecondBlock = 256;

    // What a smaller magnitude counts as, so that its reciprocal is a number.
    private const float Least = 1e-38f;

    private static readonly float[] Codes =
    [
        -1, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1,
    ];

    // Between two codes; what lies on one belongs to the lower code.
    private static readonly float[] Bounds = [.. Codes.Zip(Codes.Skip(1), static (low, high) => (low + high) / 2)];

    /// <summary>The sixteen codes.</summary>
    public static ReadOnlySpan<float> Table => Codes;

    /// <summary>The bounds between the codes.</summary>
    public static ReadOnlySpan<float> Boundaries => Bounds;

    /// <summary>Bytes of so many values.</summary>
    public static long PackedBytes(long values) => (values + 1) / 2;

    /// <summary>Blocks of so many values, the last one perhaps short.</summary>
    public static long Blocks(long values, int block = Block) => (values + block - 1) / block;

    /// <summary>Quantizes a flattened tensor.</summary>
    /// <param name="source">As many numbers as <paramref name="values"/>.</param>
    /// <param name="values">How many, also an odd number of them.</param>
    /// <param name="packed"><see cref="PackedBytes"/>.</param>
    /// <param name="absmax">A magnitude for each of the <see cref="Blocks"/>.</param>
    /// <param name="block">Values of a block, an even number.</param>
    /// <returns>-1, or the first value that is infinite or no number; then nothing that was written means anything.</returns>
    public static long Quantize(float* source, long values, byte* packed, float* absmax, int block = Block)
    {
        var codes = stackalloc byte[block];
        for (var first = 0L; first < values; first += block, absmax++)
        {
            var (count, most, from) = ((int)Math.Min(block, values - first), 0f, (nint)(source + first));
            for (var i = 0; i < count; i++)
            {
                var size = MathF.Abs(((float*)from)[i]);
                if (!(size <= float.MaxValue)) return first + i;
                if (size > most) most = size;
            }

            // A short block is divided by its magnitude, as bitsandbytes does; of an odd one the last code is that of zero.
            var (isWhole, atLeast) = (count == block, MathF.Max(most, Least));
            *absmax = isWhole ? most : atLeast;
            if (isWhole) Code((float*)from, count, 1 / atLeast, codes);
            for (var i = 0; !isWhole && i < count; i++) codes[i] = CodeOf(((float*)from)[i] / atLeast);
            if (count % 2 != 0) codes[count] = CodeOf(0);
            for (var i = 0; i < count; i += 2) packed[(first + i) / 2] = (byte)(codes[i] << 4 | codes[i + 1]);
        }

        return -1;
    }

    /// <summary>The mean of magnitudes, which their second quantization takes off before.</summary>
    public static float OffsetOf(float* absmax, long blocks)
    {
        var sum = 0.0;
        for (var i = 0L; i < blocks; i++) sum += absmax[i];
        return blocks == 0 ? 0 : (float)(sum / blocks);
    }

    /// <summary>Quantizes magnitudes to bytes.</summary>
    /// <param name="absmax">The magnitudes.</param>
    /// <param name="blocks">How many.</param>
    /// <param name="offset"><see cref="OffsetOf"/> them.</param>
    /// <param name="codes">A byte each.</param>
    /// <param name="absmax2">One for each <see cref="SecondBlock"/> of them.</param>
    public static void Compress(float* absmax, long blocks, float offset, byte* codes, float* absmax2)
    {
        for (var first = 0L; first < blocks; first += SecondBlock, absmax2++)
        {
            var (count, most) = (Math.Min(SecondBlock, blocks - first), 0f);
            for (var i = first; i < first + count; i++) most = MathF.Max(most, MathF.Abs(absmax[i] - offset));
            *absmax2 = most;
            for (var i = first; i < first + count; i++) codes[i] = most > 0 ? DynamicMap.CodeOf((absmax[i] - offset) / most) : (byte)0;
        }
    }

    /// <summary>Widens part of a flattened tensor.</summary>
    /// <param name="stored">The tensor.</param>
    /// <param name="first">The first value, anywhere in a block.</param>
    /// <param name="count">How many.</param>
    /// <param name="target">As many numbers.</param>
    public static void Widen(in Nf4Values stored, long first, long count, float* target)
    {
        if (Vector512.IsHardwareAccelerated) Widen<WideSixteen>(stored, first, count, target);
        else Widen<PairedSixteen>(stored, first, count, target);
    }

    /// <summary>The same with registers of a given width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen<T>(in Nf4Values stored, long first, long count, float* target)
        where T : struct, ISixteen<T>
    {
        fixed (float* table = Codes)
        {
            var codes = T.Load(table);
            for (var (at, end) = (first, first + count); at < end;)
            {
                var block = at / stored.Block;
                var next = Math.Min(end, (block + 1) * stored.Block);
                var scale = stored.ScaleOf(block);
                if ((at & 1) != 0) *target++ = table[stored.Packed[at++ / 2] & 0xF] * scale;
                for (var scales = T.Of(scale); at <= next - 16; at += 16, target += 16)
                    T.Store(T.Pick(codes, Unpacked(stored.Packed + at / 2)) * scales, target);
                for (; at < next; at++) *target++ = table[stored.Packed[at / 2] >> ((at & 1) == 0 ? 4 : 0) & 0xF] * scale;
            }
        }
    }

    // Sixteen codes, the one in the high bits of a byte first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Unpacked(byte* packed)
    {
        var bytes = Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<ulong>(packed)).AsByte());
        return ((bytes >> 4) | ((bytes & Vector128.Create((ushort)0xF)) << 8)).AsByte();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Code(float* from, int count, float scale, byte* codes)
    {
        var i = 0;
        for (; i <= count - Vector256<float>.Count; i += Vector256<float>.Count)
        {
            var (scaled, sum) = (Vector256.Load(from + i) * scale, Vector256<int>.Zero);
            foreach (var bound in Bounds) sum -= Vector256.GreaterThan(scaled, Vector256.Create(bound)).AsInt32();
            var eight = Vector256.Narrow(sum.AsUInt32(), default);
            Vector256.Narrow(eight, default).GetLower().GetLower().Store(codes + i);
        }

        for (; i < count; i++) codes[i] = CodeOf(from[i] * scale);
    }

    private static byte CodeOf(float scaled)
    {
        var code = 0;
        foreach (var bound in Bounds) code += bound < scaled ? 1 : 0;
        return (byte)code;
    }
}

/// <summary>Where the parts of a tensor in <see cref="Nf4"/> lie.</summary>
internal readonly unsafe struct Nf4Values
{
    private readonly float* _absmax;
    private readonly byte* _codes;
    private readonly float* _absmax2;
    private readonly float _offset;

    /// <summary>With magnitudes as they are.</summary>
    public Nf4Values(byte* packed, float* absmax, int block = Nf4.Block)
    {
        Packed = packed;
        Block = block;
        _absmax = absmax;
    }

    /// <summary>With magnitudes quantized themselves.</summary>
    public Nf4Values(byte* packed, byte* codes, float* absmax2, float offset, int block = Nf4.Block)
    {
        Packed = packed;
        Block = block;
        _codes = codes;
        _absmax2 = absmax2;
        _offset = offset;
    }

    /// <summary>Two codes a byte.</summary>
    public byte* Packed { get; }

    /// <summary>Values of a block.</summary>
    public int Block { get; }

    /// <summary>What a block's codes are multiplied by.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float ScaleOf(long block) =>
        _codes is null ? _absmax[block] : DynamicMap.Values[_codes[block]] * _absmax2[block / Nf4.SecondBlock] + _offset;
}

using FedRLora.Training.Gguf;
using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Tests.Quantization;

/// <summary>Blocks of GGUF files beside what ggml reads.</summary>
public sealed unsafe class GgmlBlockTests
{
    public static TheoryData<string> Files => Fixtures.Of("gguf/blocks/*");

    [SharedTheory, MemberData(nameof(Files))]
    public void Every_bit_is_ggmls(string place)
    {
        using var file = new BlockFile(place);
        var raw = file.Bytes(file.Has("raw") ? "raw" : "raw_ggml_c");
        var expected = file.Floats("values");

        BlockFile.AssertSameBits(expected, Widened(file.Type, raw), place);
        Assert.Equal(Array.FindIndex(expected, static value => !float.IsFinite(value)), FirstNotFinite(file.Type, raw));
    }

    public static TheoryData<string> Types => [.. GgmlTypes.All.Select(static type => $"{type}")];

    [Theory, MemberData(nameof(Types))]
    public void Registers_of_any_width_give_the_bits_of_one_value_after_the_other_at_any_address(string name)
    {
        var type = Enum.Parse<GgmlType>(name);
        var random = new Random(7);
        foreach (var blockCount in (int[])[1, 3, 16, 37, 100])
        {
            for (var offset = 0; offset < 4; offset++)
            {
                var raw = new byte[offset + blockCount * type.BlockBytes()];
                random.NextBytes(raw);
                float[] plain = new float[blockCount * type.BlockValues()], wide = [.. plain], paired = [.. plain];
                fixed (byte* blocks = raw)
                fixed (float* one = plain, two = wide, three = paired)
                {
                    PlainBlocks.Widen(type, blocks + offset, one, plain.Length);
                    BlockKernels<WideSixteen>.Widen(type, blocks + offset, two, plain.Length);
                    BlockKernels<PairedSixteen>.Widen(type, blocks + offset, three, plain.Length);
                }

                BlockFile.AssertSameBits(plain, wide, $"{type}, wide");
                BlockFile.AssertSameBits(plain, paired, $"{type}, in pairs");
            }
        }
    }

    [Fact]
    public void Every_float16_is_read_by_registers_of_any_width()
    {
        var raw = Enumerable.Range(0, 1 << 16).SelectMany(static bits => BitConverter.GetBytes((ushort)bits)).ToArray();
        var expected = Enumerable.Range(0, 1 << 16).Select(static bits => (float)BitConverter.UInt16BitsToHalf((ushort)bits)).ToArray();
        float[] wide = new float[1 << 16], paired = new float[1 << 16];
        fixed (byte* blocks = raw)
        fixed (float* one = wide, other = paired)
        {
            BlockKernels<WideSixteen>.Widen(GgmlType.F16, blocks, one, wide.Length);
            BlockKernels<PairedSixteen>.Widen(GgmlType.F16, blocks, other, paired.Length);
        }

        BlockFile.AssertSameBits(expected, wide, "wide");
        BlockFile.AssertSameBits(expected, paired, "in pairs");
    }

    [Theory, MemberData(nameof(Types))]
    public void The_first_value_that_is_not_finite_is_found_wherever_its_scale_lies(string name)
    {
        var type = Enum.Parse<GgmlType>(name);
        var raw = new byte[5 * type.BlockBytes()];
        for (var block = 0; block < 5; block++)
        {
            for (var at = 0; at < type.BlockBytes(); at++)
            {
                var changed = raw.ToArray();
                changed.AsSpan(block * type.BlockBytes() + at, Math.Min(2, type.BlockBytes() - at)).Fill(0xFF);
                var first = Array.FindIndex(Widened(type, changed), static value => !float.IsFinite(value));
                Assert.Equal(first, FirstNotFinite(type, changed));
            }
        }
    }

    internal static float[] Widened(GgmlType type, byte[] raw)
    {
        var values = new float[raw.Length / type.BlockBytes() * type.BlockValues()];
        fixed (byte* blocks = raw)
        fixed (float* target = values) GgmlBlocks.Widen(type, blocks, target, values.Length);
        return values;
    }

    private static long FirstNotFinite(GgmlType type, byte[] raw)
    {
        fixed (byte* blocks = raw) return GgmlBlocks.FirstNotFinite(type, blocks, raw.Length / type.BlockBytes() * type.BlockValues());
    }
}

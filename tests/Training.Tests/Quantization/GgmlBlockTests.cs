using FedRLora.Training.Gguf;
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

    private static float[] Widened(GgmlType type, byte[] raw)
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

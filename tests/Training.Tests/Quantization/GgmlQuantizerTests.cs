using FedRLora.Training.Gguf;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Tests.Quantization;

/// <summary>Blocks as they are written.</summary>
public sealed unsafe class GgmlQuantizerTests
{
    public static TheoryData<string> Files => Fixtures.Of("gguf/quantize/*");

    public static TheoryData<string> Types => [.. GgmlQuantizer.Types.Select(static type => $"{type}")];

    [SharedTheory, MemberData(nameof(Files))]
    public void Every_byte_is_ggmls_and_what_does_not_fit_is_named(string place)
    {
        using var file = new BlockFile(place);
        var (source, raw, columns) = (file.Floats("source"), file.Bytes("raw"), (int)file.Columns("source"));
        var (rowBytes, block) = ((int)file.Type.RowBytes(columns), file.Type.BlockValues());
        for (var row = 0; row < source.Length / columns; row++)
        {
            var values = source.AsSpan(row * columns, columns).ToArray();
            var bytes = new byte[rowBytes];
            var first = Write(file.Type, values, bytes);

            // Of what the reference writes for it the first value, or the first of a block, that is not finite when it is read back.
            var theirs = raw.AsSpan(row * rowBytes, rowBytes).ToArray();
            var back = GgmlBlockTests.Widened(file.Type, theirs);
            var lost = Array.FindIndex(back, static value => !float.IsFinite(value));
            if (lost >= 0)
            {
                Assert.Equal(lost / block, first / block);
                continue;
            }

            if (values.All(float.IsFinite))
            {
                Assert.Equal(-1, first);
                Assert.Equal(theirs, bytes);
            }
            else
            {
                Assert.Equal(Array.FindIndex(values, static value => !float.IsFinite(value)), first);
            }
        }
    }

    [Theory, MemberData(nameof(Types))]
    public void What_was_written_is_read_back_near(string name)
    {
        var type = Enum.Parse<GgmlType>(name);
        var random = new Random(3);
        var values = Enumerable.Range(0, 4 * 32).Select(_ => (float)(random.NextDouble() - 0.5)).ToArray();
        var bytes = new byte[type.RowBytes(values.Length)];

        Assert.Equal(-1, Write(type, values, bytes));
        Close.Assert(values, GgmlBlockTests.Widened(type, bytes), $"{type}", absolute: 0.5 / 254 + 1e-3, relative: 0);
    }

    [Theory, MemberData(nameof(Types))]
    public void A_value_that_is_no_number_or_too_great_is_named_and_nothing_else(string name)
    {
        var type = Enum.Parse<GgmlType>(name);
        var greatest = type switch { GgmlType.F32 => float.MaxValue, GgmlType.F16 => 65519, GgmlType.BF16 => 3.39e38f, _ => 65519f * 127 };
        List<float> wrong = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        if (type != GgmlType.F32) wrong.AddRange([float.MaxValue, -float.MaxValue]);
        foreach (var value in wrong)
        {
            foreach (var place in (int[])[0, 5, 31, 32, 63])
            {
                var values = new float[64];
                values[place] = value;
                Assert.Equal(place, Write(type, values, new byte[type.RowBytes(64)]));
            }
        }

        float[] fits = [greatest, -greatest, .. new float[30]];
        Assert.Equal(-1, Write(type, fits, new byte[type.RowBytes(32)]));
    }

    private static long Write(GgmlType type, float[] values, byte[] bytes)
    {
        fixed (float* source = values)
        fixed (byte* blocks = bytes) return GgmlQuantizer.Write(type, source, values.Length, blocks);
    }
}

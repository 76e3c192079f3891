using System.Runtime.InteropServices;
using System.Text.Json;
using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Tests.Quantization;

/// <summary>NF4 and rows of int8 beside bitsandbytes.</summary>
public sealed unsafe class Nf4Tests
{
    public static TheoryData<string> Codes => Fixtures.Of("nf4/codes");

    public static TheoryData<string> Tensors => Fixtures.Of("nf4/values");

    public static TheoryData<string> Layers => Fixtures.Of("nf4/layer");

    [SharedTheory, MemberData(nameof(Codes))]
    public void Codes_their_boundaries_and_the_dynamic_map_are_to_the_bit_those_of_bitsandbytes(string place)
    {
        using var file = new BlockFile(place);
        BlockFile.AssertSameBits(file.Floats("nf4_code"), Nf4.Table, "codes");
        BlockFile.AssertSameBits(file.Floats("nf4_boundaries"), Nf4.Boundaries, "boundaries");
        BlockFile.AssertSameBits(file.Floats("dynamic_map"), DynamicMap.Values, "dynamic map");
    }

    [SharedTheory, MemberData(nameof(Tensors))]
    public void Tensors_are_quantized_and_widened_as_bitsandbytes_does(string place)
    {
        using var file = new BlockFile(place);
        var source = file.Floats("source");
        foreach (var (name, block, rounded) in Variants(file))
        {
            var values = Array.ConvertAll(source, value => rounded(value));
            var quantized = new Quantized(values, block);

            Assert.Equal(file.Bytes($"{name}.packed"), quantized.Packed);
            BlockFile.AssertSameBits(file.Floats($"{name}.absmax"), quantized.Absmax, $"{name}.absmax");
            var widened = Array.ConvertAll(quantized.Widened(), value => rounded(value));
            BlockFile.AssertSameBits(file.Floats($"{name}.dequantized"), widened, $"{name}.dequantized");
            if (file.Has($"{name}.double.offset")) CompareDouble(file, name, quantized);
        }
    }

    [SharedTheory, MemberData(nameof(Tensors))]
    public void Rows_of_int8_are_those_of_bitsandbytes(string place)
    {
        using var file = new BlockFile(place);
        foreach (var (name, rounded) in (IEnumerable<(string, Func<float, float>)>)[("int8", Same), ("int8_fp16", Half)])
        {
            if (!file.Has($"{name}.codes")) continue;
            var columns = (int)file.Columns("source");
            var source = Array.ConvertAll(file.Floats("source"), value => rounded(value));
            var (codes, absmax, widened) = (new sbyte[source.Length], new float[source.Length / columns], new float[source.Length]);
            fixed (float* from = source, most = absmax, to = widened)
            fixed (sbyte* at = codes)
            {
                Assert.Equal(-1, Int8Rows.Quantize(from, absmax.Length, columns, at, most));
                Int8Rows.Widen(at, most, absmax.Length, columns, to);
            }

            Assert.Equal(file.Bytes($"{name}.codes"), MemoryMarshal.AsBytes(codes.AsSpan()).ToArray());
            BlockFile.AssertSameBits(file.Floats($"{name}.row_absmax"), absmax, $"{name}.row_absmax");
            BlockFile.AssertSameBits(file.Floats($"{name}.dequantized"), widened, $"{name}.dequantized");
        }
    }

    [SharedTheory, MemberData(nameof(Layers))]
    public void A_layer_that_bitsandbytes_saved_is_read(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var file = new BlockFile(place);
        using var numbers = new BlockFile(place, Path.ChangeExtension(name, ".io.safetensors"));
        using var state = JsonDocument.Parse(file.Bytes("weight.quant_state.bitsandbytes__nf4"));
        BlockFile.AssertSameBits(file.Floats("weight.quant_map"), Nf4.Table, "codes");
        var (block, packed) = (state.RootElement.GetProperty("blocksize").GetInt32(), file.Bytes("weight"));
        var widened = new float[state.RootElement.GetProperty("shape").EnumerateArray()
            .Aggregate(1, static (all, side) => all * side.GetInt32())];

        fixed (byte* at = packed)
        fixed (float* to = widened)
        {
            if (file.Has("weight.nested_absmax"))
            {
                BlockFile.AssertSameBits(file.Floats("weight.nested_quant_map"), DynamicMap.Values, "dynamic map");
                var offset = state.RootElement.GetProperty("nested_offset").GetSingle();
                Assert.Equal(Nf4.SecondBlock, state.RootElement.GetProperty("nested_blocksize").GetInt32());
                fixed (byte* codes = file.Bytes("weight.absmax"))
                fixed (float* absmax2 = file.Floats("weight.nested_absmax"))
                    Nf4.Widen(new(at, codes, absmax2, offset, block), 0, widened.Length, to);
            }
            else
            {
                fixed (float* absmax = file.Floats("weight.absmax")) Nf4.Widen(new(at, absmax, block), 0, widened.Length, to);
            }
        }

        BlockFile.AssertSameBits(numbers.Floats("dequantized"), widened, folder);
    }

    [Fact]
    public void Any_part_of_a_tensor_is_widened_alone_by_registers_of_any_width()
    {
        var random = new Random(5);
        var quantized = new Quantized([.. Enumerable.Range(0, 677).Select(_ => (float)(random.NextDouble() - 0.5))], Nf4.Block);
        var whole = quantized.Widened();
        for (var draw = 0; draw < 500; draw++)
        {
            var first = random.Next(whole.Length);
            var count = random.Next(whole.Length - first + 1);
            var expected = whole.AsSpan(first, count);
            BlockFile.AssertSameBits(expected, quantized.Part<WideSixteen>(first, count), $"{count} from {first}, wide");
            BlockFile.AssertSameBits(expected, quantized.Part<PairedSixteen>(first, count), $"{count} from {first}, in pairs");
        }
    }

    [Fact]
    public void Rows_of_int8_are_widened_alike_by_registers_of_any_width()
    {
        var random = new Random(6);
        var (codes, absmax) = (new sbyte[7 * 37], Enumerable.Range(0, 7).Select(_ => random.NextSingle()).ToArray());
        random.NextBytes(MemoryMarshal.AsBytes(codes.AsSpan()));
        float[] plain = [.. codes.Select((code, i) => code * absmax[i / 37] * 0.007874015718698502f)];
        float[] wide = new float[plain.Length], paired = [.. wide];
        fixed (sbyte* at = codes)
        fixed (float* most = absmax, one = wide, other = paired)
        {
            Int8Rows.Widen<WideSixteen>(at, most, 7, 37, one);
            Int8Rows.Widen<PairedSixteen>(at, most, 7, 37, other);
        }

        BlockFile.AssertSameBits(plain, wide, "wide");
        BlockFile.AssertSameBits(plain, paired, "in pairs");
    }

    [Fact]
    public void A_value_that_is_no_number_or_too_great_is_named()
    {
        var values = new float[200];
        foreach (var place in (int[])[0, 63, 64, 150, 199])
        {
            foreach (var value in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity])
            {
                values[place] = value;
                Assert.Equal((place, place), (QuantizedNf4(), QuantizedInt8()));
            }

            values[place] = float.MaxValue;
            Assert.Equal((-1, place), (QuantizedNf4(), QuantizedInt8()));
            values[place] = 0;
        }

        long QuantizedNf4()
        {
            var (packed, absmax) = (new byte[100], new float[4]);
            fixed (float* from = values, most = absmax)
            fixed (byte* to = packed) return Nf4.Quantize(from, 200, to, most);
        }

        long QuantizedInt8()
        {
            var (codes, absmax) = (new sbyte[200], new float[4]);
            fixed (float* from = values, most = absmax)
            fixed (sbyte* to = codes) return Int8Rows.Quantize(from, 4, 50, to, most);
        }
    }

    private static void CompareDouble(BlockFile file, string name, Quantized quantized)
    {
        var stored = file.Floats($"{name}.double.offset")[0];
        Assert.True(Math.Abs(quantized.Offset - stored) <= 2 * Math.Abs(MathF.BitIncrement(stored) - stored),
            $"{name}: {quantized.Offset} is not {stored}");
        quantized.Compress(stored);
        Assert.Equal(file.Bytes($"{name}.double.absmax_codes"), quantized.Codes);
        BlockFile.AssertSameBits(file.Floats($"{name}.double.absmax2"), quantized.Absmax2, $"{name}.double.absmax2");
        BlockFile.AssertSameBits(file.Floats($"{name}.double.absmax_dequantized"), quantized.Scales(), $"{name}.double.absmax_dequantized");
        BlockFile.AssertSameBits(file.Floats($"{name}.double.dequantized"), quantized.Widened(), $"{name}.double.dequantized");
    }

    // nf4, and what its source was rounded to or how long its blocks are: nf4_bf16, nf4_block32.
    private static IEnumerable<(string Name, int Block, Func<float, float> Rounded)> Variants(BlockFile file)
    {
        const string Suffix = ".packed";
        var packed = file.Names.Where(static name => name.EndsWith(Suffix, StringComparison.Ordinal));
        foreach (var name in packed.Select(static name => name[..^Suffix.Length]))
        {
            if (name == "nf4") yield return (name, Nf4.Block, Same);
            else if (name == "nf4_bf16") yield return (name, Nf4.Block, Brain);
            else if (name == "nf4_fp16") yield return (name, Nf4.Block, Half);
            else if (name.StartsWith("nf4_block", StringComparison.Ordinal)) yield return (name, int.Parse(name.AsSpan(9)), Same);
            else Assert.StartsWith("fp4", name, StringComparison.Ordinal); // not offered
        }
    }

    private static float Same(float value) => value;

    private static float Half(float value) => (float)(Half)value;

    private static float Brain(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
    }

    /// <summary>A tensor in NF4, its magnitudes as they are until they are compressed.</summary>
    private sealed class Quantized
    {
        private readonly int _count;
        private readonly int _block;
        private float? _offset;

        public Quantized(float[] source, int block)
        {
            (_count, _block) = (source.Length, block);
            Packed = new byte[Nf4.PackedBytes(source.Length)];
            Absmax = new float[Nf4.Blocks(source.Length, block)];
            fixed (float* from = source, most = Absmax)
            fixed (byte* to = Packed)
            {
                Assert.Equal(-1, Nf4.Quantize(from, source.Length, to, most, block));
                Offset = Nf4.OffsetOf(most, Absmax.Length);
            }
        }

        public byte[] Packed { get; }

        public float[] Absmax { get; }

        public float Offset { get; }

        public byte[] Codes { get; private set; } = [];

        public float[] Absmax2 { get; private set; } = [];

        public void Compress(float offset)
        {
            (_offset, Codes, Absmax2) = (offset, new byte[Absmax.Length], new float[Nf4.Blocks(Absmax.Length, Nf4.SecondBlock)]);
            fixed (float* most = Absmax, second = Absmax2)
            fixed (byte* codes = Codes) Nf4.Compress(most, Absmax.Length, offset, codes, second);
        }

        public float[] Widened() => With(stored => Read(stored, 0, _count));

        public float[] Part<T>(int first, int count)
            where T : struct, ISixteen<T> => With(stored =>
            {
                var values = new float[count];
                fixed (float* to = values) Nf4.Widen<T>(stored, first, count, to);
                return values;
            });

        public float[] Scales() => With(stored => Enumerable.Range(0, Absmax.Length).Select(block => stored.ScaleOf(block)).ToArray());

        private static float[] Read(Nf4Values stored, int first, int count)
        {
            var values = new float[count];
            fixed (float* to = values) Nf4.Widen(stored, first, count, to);
            return values;
        }

        private float[] With(Func<Nf4Values, float[]> read)
        {
            fixed (byte* packed = Packed, codes = Codes)
            fixed (float* most = Absmax, second = Absmax2)
                return read(_offset is { } offset ? new(packed, codes, second, offset, _block) : new(packed, most, _block));
        }
    }
}

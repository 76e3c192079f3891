using FedRLora.Training.Gguf;
using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Tests.Quantization;

/// <summary>Products with a matrix that stays as it is stored, beside sums in float64.</summary>
public sealed unsafe class RowProductsTests
{
    private const int Rows = 37;

    public static TheoryData<string, int, int> Matrices
    {
        get
        {
            var data = new TheoryData<string, int, int>();
            foreach (var height in (int[])[1, 2, 3, 4, 7, 8, 18])
            {
                data.Add("Q4_1", 96, height);
                data.Add("Q6_K", 256, height);
                data.Add("BF16", 50, height);
                data.Add("nf4", 75, height);
                data.Add("int8", 33, height);
                data.Add("int8", 15, height);
            }

            return data;
        }
    }

    [Theory, MemberData(nameof(Matrices))]
    public void Forward_and_backward_are_those_of_the_widened_matrix_and_their_bits_those_of_any_registers(
        string type, int columns, int height)
    {
        var random = new Random(9);
        float[] Drawn(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() - 0.5))];
        float[] source = Drawn(Rows * columns), x = Drawn(height * columns), g = Drawn(height * Rows), before = Drawn(height * columns);
        using var matrix = new Stored(type, source, columns);
        var widened = new float[source.Length];
        float[] y = new float[height * Rows], paired = [.. y], halves = [.. y];
        float[] back = [.. before], backPaired = [.. before], fresh = [.. before];
        fixed (float* w = widened, input = x, gradient = g, one = y, two = paired, three = halves)
        fixed (float* four = back, five = backPaired, six = fresh)
        {
            matrix.Rows.Widen(0, Rows, w);
            RowProducts<WideSixteen>.Multiply(matrix.Rows, 0, Rows, input, height, one, Rows);
            RowProducts<PairedSixteen>.Multiply(matrix.Rows, 0, Rows, input, height, two, Rows);
            RowProducts.Multiply(matrix.Rows, 0, 13, input, height, three, Rows);
            RowProducts.Multiply(matrix.Rows, 13, Rows, input, height, three, Rows);
            RowProducts<WideSixteen>.MultiplyBack(matrix.Rows, Rows, gradient, height, four, keeps: true);
            RowProducts<PairedSixteen>.MultiplyBack(matrix.Rows, Rows, gradient, height, five, keeps: true);
            RowProducts.MultiplyBack(matrix.Rows, Rows, gradient, height, six, keeps: false);
        }

        for (var i = 0; i < height; i++)
        {
            for (var row = 0; row < Rows; row++)
            {
                var sum = Enumerable.Range(0, columns).Sum(k => (double)x[i * columns + k] * widened[row * columns + k]);
                Assert.Equal(sum, y[i * Rows + row], 1e-5);
            }

            for (var k = 0; k < columns; k++)
            {
                var sum = Enumerable.Range(0, Rows).Sum(row => (double)g[i * Rows + row] * widened[row * columns + k]);
                Assert.Equal(sum, fresh[i * columns + k], 1e-5);
                Assert.Equal(before[i * columns + k] + sum, back[i * columns + k], 1e-5);
            }
        }

        BlockFile.AssertSameBits(y, paired, "in pairs");
        BlockFile.AssertSameBits(y, halves, "in two parts");
        BlockFile.AssertSameBits(back, backPaired, "back, in pairs");
    }

    [Fact]
    public void A_row_of_input_gets_the_same_bits_alone_and_among_others()
    {
        var random = new Random(10);
        float[] Drawn(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() - 0.5))];
        const int Columns = 96, Height = 23;
        float[] x = Drawn(Height * Columns), g = Drawn(Height * Rows);
        using var matrix = new Stored("Q8_0", Drawn(Rows * Columns), Columns);
        float[] y = new float[Height * Rows], alone = [.. y], back = new float[Height * Columns], backAlone = [.. back];
        fixed (float* input = x, gradient = g, one = y, two = alone, three = back, four = backAlone)
        {
            RowProducts.Multiply(matrix.Rows, 0, Rows, input, Height, one, Rows);
            RowProducts.MultiplyBack(matrix.Rows, Rows, gradient, Height, three, keeps: false);
            for (var i = 0; i < Height; i++)
            {
                RowProducts.Multiply(matrix.Rows, 0, Rows, input + i * Columns, 1, two + i * Rows, Rows);
                RowProducts.MultiplyBack(matrix.Rows, Rows, gradient + i * Rows, 1, four + i * Columns, keeps: false);
            }
        }

        BlockFile.AssertSameBits(alone, y, "forward");
        BlockFile.AssertSameBits(backAlone, back, "back");
    }

    [Fact]
    public void A_sum_over_as_many_rows_as_an_LM_head_has_is_accurate()
    {
        var random = new Random(11);
        const int Columns = 32, Many = 40_000;
        float[] Drawn(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)random.NextDouble())];
        var (g, back, widened) = (Drawn(Many), new float[Columns], new float[Many * Columns]);
        using var matrix = new Stored("Q8_0", Drawn(Many * Columns), Columns);
        fixed (float* w = widened, gradient = g, to = back)
        {
            matrix.Rows.Widen(0, Many, w);
            RowProducts.MultiplyBack(matrix.Rows, Many, gradient, 1, to, keeps: false);
        }

        for (var k = 0; k < Columns; k++)
        {
            var sum = Enumerable.Range(0, Many).Sum(row => (double)g[row] * widened[row * Columns + k]);
            Assert.Equal(1, back[k] / sum, 1e-6);
        }
    }

    /// <summary>A matrix stored as a type's name says.</summary>
    private sealed class Stored : IDisposable
    {
        private readonly List<System.Buffers.MemoryHandle> _pinned = [];

        public Stored(string type, float[] source, int columns)
        {
            fixed (float* from = source)
            {
                if (type == "int8")
                {
                    var codes = (sbyte*)New<sbyte>(source.Length);
                    var absmax = (float*)New<float>(source.Length / columns);
                    Assert.Equal(-1, Int8Rows.Quantize(from, source.Length / columns, columns, codes, absmax));
                    Rows = new Int8Stored(codes, absmax, columns);
                }
                else if (type == "nf4")
                {
                    var packed = (byte*)New<byte>((int)Nf4.PackedBytes(source.Length));
                    var absmax = (float*)New<float>((int)Nf4.Blocks(source.Length));
                    Assert.Equal(-1, Nf4.Quantize(from, source.Length, packed, absmax));
                    Rows = new Nf4Rows(new(packed, absmax), columns);
                }
                else
                {
                    var ggml = Enum.Parse<GgmlType>(type);
                    var bytes = new byte[ggml.RowBytes(source.Length)];
                    var blocks = (byte*)New(bytes);
                    if (GgmlQuantizer.Types.Contains(ggml)) Assert.Equal(-1, GgmlQuantizer.Write(ggml, from, source.Length, blocks));
                    else Draw(ggml, bytes);
                    Rows = new GgmlRows(ggml, blocks, columns);
                }
            }
        }

        public IStoredRows Rows { get; }

        public void Dispose() => _pinned.ForEach(static pinned => pinned.Dispose());

        // Any codes under scales of about a thousandth.
        private static void Draw(GgmlType type, byte[] blocks)
        {
            new Random(11).NextBytes(blocks);
            for (var at = type == GgmlType.Q6_K ? 208 : 0; at < blocks.Length; at += type.BlockBytes())
            {
                BitConverter.TryWriteBytes(blocks.AsSpan(at), (Half)(type == GgmlType.Q6_K ? 1e-5f : 1e-2f));
                if (type == GgmlType.Q4_1) BitConverter.TryWriteBytes(blocks.AsSpan(at + 2), (Half)(-1e-1f));
            }
        }

        private void* New<T>(int count) => New(new T[count]);

        private void* New<T>(T[] values)
        {
            _pinned.Add(values.AsMemory().Pin());
            return _pinned[^1].Pointer;
        }
    }
}

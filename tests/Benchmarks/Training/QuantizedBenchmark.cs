using System.Globalization;
using System.Runtime.InteropServices;
using FedRLora.Training;
using FedRLora.Training.Gguf;
using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// What it costs to compute with a matrix that stays quantized, on one thread: how fast blocks widen; products of few rows straight from
/// the blocks beside the library's product of the widened matrix; products of many rows by how much is widened at a time. Everything in
/// processor time, the least of several runs.
/// </summary>
internal static unsafe class QuantizedBenchmark
{
    private const double Seconds = 0.03;
    private static readonly string[] Parts = ["widening", "few", "tiles"];
    private static readonly (int Rows, int Columns)[] Shapes = [(576, 576), (1536, 576), (576, 1536), (49152, 576)];
    private static readonly int[] Few = [1, 2, 4, 8, 16, 32, 128, 512];
    private static readonly int[] Many = [128, 512];
    private static readonly int[] Heights = [0, 32, 128, 512, int.MaxValue];

    /// <summary>Prints a table for each part.</summary>
    /// <param name="args">Parts, or none for all; <c>--types</c>, <c>--runs</c>.</param>
    public static void Run(string[] args)
    {
        string[] known = [.. GgmlTypes.All.Select(static type => $"{type}"), "int8", "nf4"];
        var types = CommandLine.Chosen(args, "--types", known);
        var runs = int.Parse(CommandLine.Option(args, "--runs") ?? "5", CultureInfo.InvariantCulture);
        var chosen = args.TakeWhile(static arg => !arg.StartsWith('-')).ToArray();
        if (chosen.Except(Parts, StringComparer.Ordinal).FirstOrDefault() is { } unknown)
            throw new ArgumentException($"{unknown} is none of {string.Join(", ", Parts)}");
        _ = get_num_threads();
        set_num_threads(1);
        foreach (var part in chosen.Length == 0 ? Parts : chosen)
        {
            Console.WriteLine($"\n{part}");
            if (part == "widening") Widening(types, runs);
            else if (part == "few") FewRows(types, runs);
            else Tiles(types, runs);
        }
    }

    private static void Widening(string[] types, int runs)
    {
        const int Rows = 1536, Columns = 1536;
        Console.WriteLine(
            "| type | bits a value | a row again and again, values/ns | a matrix of 9 MB to float32, values/ns | written, GB/s |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: |");
        using var target = new Buffer((long)Rows * Columns * sizeof(float));
        foreach (var type in types)
        {
            using var matrix = new StoredMatrix(type, Rows, Columns);
            var taken = Least(runs,
                () => { for (var i = 0; i < Rows; i++) matrix.Widen(0, 1, target.Floats); },
                () => matrix.Widen(0, Rows, target.Floats));
            var values = (double)Rows * Columns / 1e9;
            Row(type, $"{8.0 * matrix.Bytes / Rows / Columns:F2}", $"{values / taken[0]:F2}", $"{values / taken[1]:F2}",
                $"{4 * values / taken[1]:F1}");
        }
    }

    private static void FewRows(string[] types, int runs)
    {
        Console.WriteLine("| type | matrix | rows of input | from the blocks, us | widened, then the library, us | float32, us |");
        Console.WriteLine("| --- | --- | ---: | ---: | ---: | ---: |");
        foreach (var (rows, columns) in Shapes)
        {
            foreach (var type in types.Where(type => Fits(type, columns)))
            {
                using var scope = NewDisposeScope();
                using var matrix = new StoredMatrix(type, rows, columns);
                Tensor widened = empty(rows, columns), plain = randn(rows, columns);
                foreach (var height in Few)
                {
                    Tensor x = randn(height, columns), y = empty(height, rows);
                    float* from = Memory.Of(x), to = Memory.Of(y), all = Memory.Of(widened);
                    var taken = Least(runs,
                        () => matrix.Multiply(from, height, to),
                        () =>
                        {
                            matrix.Widen(0, rows, all);
                            Into(y, x, widened, true);
                        },
                        () => Into(y, x, plain, true));
                    Row(type, $"{rows} x {columns}", $"{height}", Microseconds(taken[0]), Microseconds(taken[1]), Microseconds(taken[2]));
                }
            }
        }
    }

    private static void Tiles(string[] types, int runs)
    {
        Console.WriteLine("| type | matrix | rows of input | widened at a time | x W^T, us | float32, us | g W, us | float32, us |");
        Console.WriteLine("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (var (rows, columns) in Shapes)
        {
            foreach (var type in types.Where(type => Fits(type, columns)))
            {
                using var matrix = new StoredMatrix(type, rows, columns);
                foreach (var height in Many)
                {
                    foreach (var tile in Heights.Where(tile => tile is 0 or int.MaxValue || tile < rows))
                    {
                        using var scope = NewDisposeScope();
                        var step = Math.Min(tile, rows);
                        Tensor x = randn(height, columns), y = randn(height, rows), back = empty(height, columns);
                        Tensor widened = empty(step, columns), plain = randn(rows, columns);
                        var taken = Least(runs,
                            () => matrix.Forward(x, y, widened), () => Into(y, x, plain, true),
                            () => matrix.Backward(y, back, widened), () => Into(back, y, plain, false));
                        Row(type, $"{rows} x {columns}", $"{height}",
                            tile switch { 0 => "from the blocks", int.MaxValue => "all", _ => $"{tile}" }, Microseconds(taken[0]),
                            Microseconds(taken[1]), Microseconds(taken[2]), Microseconds(taken[3]));
                    }
                }
            }
        }
    }

    // No block goes over a row's end.
    private static bool Fits(string type, int columns) => !Enum.TryParse<GgmlType>(type, out var ggml) || columns % ggml.BlockValues() == 0;

    private static void Into(Tensor target, Tensor left, Tensor right, bool isTurned) =>
        target.addmm_(left, isTurned ? right.t() : right, 0, 1);

    // Seconds of each, on the processor; they take turns.
    private static double[] Least(int runs, params Action[] contenders)
    {
        var least = Array.ConvertAll(contenders, static _ => double.MaxValue);
        for (var run = 0; run <= runs; run++)
        {
            for (var i = 0; i < contenders.Length; i++)
            {
                using var scope = NewDisposeScope();
                var (before, times, taken) = (Environment.CpuUsage.TotalTime, 0, TimeSpan.Zero);
                for (; taken.TotalSeconds < Seconds; taken = Environment.CpuUsage.TotalTime - before, times++) contenders[i]();
                if (run > 0) least[i] = Math.Min(least[i], taken.TotalSeconds / times); // the first run warms up
            }
        }

        return least;
    }

    private static string Microseconds(double seconds) => (seconds * 1e6).ToString("N0", CultureInfo.InvariantCulture);

    private static void Row(params string[] cells) => Console.WriteLine($"| {string.Join(" | ", cells)} |");

    private sealed class Buffer(long bytes) : IDisposable
    {
        public byte* Bytes { get; } = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 64);

        public float* Floats => (float*)Bytes;

        public void Dispose() => NativeMemory.AlignedFree(Bytes);
    }

    /// <summary>Drawn weights, stored as the type's name says.</summary>
    private sealed class StoredMatrix : IDisposable
    {
        private readonly IStoredRows _rows;
        private readonly List<Buffer> _buffers = [];
        private readonly int _count;

        public StoredMatrix(string type, int rows, int columns)
        {
            _count = rows;
            var values = (long)rows * columns;
            using var source = new Buffer(values * sizeof(float));
            var random = new Random(7);
            for (var i = 0L; i < values; i++) source.Floats[i] = (random.NextSingle() - 0.5f) / 10;
            if (type == "int8")
            {
                Buffer codes = New(values), absmax = New(rows * sizeof(float));
                _ = Int8Rows.Quantize(source.Floats, rows, columns, (sbyte*)codes.Bytes, absmax.Floats);
                _rows = new Int8Stored((sbyte*)codes.Bytes, absmax.Floats, columns);
            }
            else if (type == "nf4")
            {
                var blocks = Nf4.Blocks(values);
                Buffer packed = New(Nf4.PackedBytes(values)), codes = New(blocks);
                var second = New(Nf4.Blocks(blocks, Nf4.SecondBlock) * sizeof(float));
                using var absmax = new Buffer(blocks * sizeof(float));
                _ = Nf4.Quantize(source.Floats, values, packed.Bytes, absmax.Floats);
                var offset = Nf4.OffsetOf(absmax.Floats, blocks);
                Nf4.Compress(absmax.Floats, blocks, offset, codes.Bytes, second.Floats);
                _rows = new Nf4Rows(new(packed.Bytes, codes.Bytes, second.Floats, offset), columns);
            }
            else
            {
                var ggml = Enum.Parse<GgmlType>(type);
                var blocks = New(ggml.RowBytes(values));
                if (GgmlQuantizer.Types.Contains(ggml)) _ = GgmlQuantizer.Write(ggml, source.Floats, values, blocks.Bytes);
                else Draw(ggml, blocks.Bytes, values / ggml.BlockValues(), random);
                _rows = new GgmlRows(ggml, blocks.Bytes, columns);
            }
        }

        public long Bytes { get; private set; }

        public void Widen(long first, long count, float* target) => _rows.Widen(first, count, target);

        public void Multiply(float* x, int height, float* y) => RowProducts.Multiply(_rows, 0, _count, x, height, y, _count);

        // Without room for widened rows from the blocks.
        public void Forward(Tensor x, Tensor y, Tensor widened)
        {
            if (widened.shape[0] == 0)
            {
                Multiply(Memory.Of(x), (int)x.shape[0], Memory.Of(y));
                return;
            }

            InTiles(widened, (first, tile) =>
            {
                using var part = y.narrow(1, first, tile.shape[0]);
                Into(part, x, tile, true);
            });
        }

        public void Backward(Tensor gradient, Tensor target, Tensor widened)
        {
            if (widened.shape[0] == 0)
            {
                RowProducts.MultiplyBack(_rows, _count, Memory.Of(gradient), (int)gradient.shape[0], Memory.Of(target), keeps: false);
                return;
            }

            InTiles(widened, (first, tile) =>
            {
                using var part = gradient.narrow(1, first, tile.shape[0]);
                target.addmm_(part, tile, first == 0 ? 0 : 1, 1);
            });
        }

        public void Dispose() => _buffers.ForEach(static buffer => buffer.Dispose());

        private void InTiles(Tensor widened, Action<int, Tensor> multiply)
        {
            var at = Memory.Of(widened);
            for (var first = 0; first < _count; first += (int)widened.shape[0])
            {
                var count = Math.Min((int)widened.shape[0], _count - first);
                _rows.Widen(first, count, at);
                using var tile = widened.narrow(0, 0, count);
                multiply(first, tile);
            }
        }

        private Buffer New(long bytes)
        {
            Bytes += bytes;
            _buffers.Add(new(bytes));
            return _buffers[^1];
        }

        // Any codes, but scales as those of weights.
        private static void Draw(GgmlType type, byte* blocks, long count, Random random)
        {
            for (var i = 0L; i < count; i++, blocks += type.BlockBytes())
            {
                random.NextBytes(new Span<byte>(blocks, type.BlockBytes()));
                var scales = (Half*)(type == GgmlType.Q6_K ? blocks + 208 : blocks);
                var isSuper = type is GgmlType.Q4_K or GgmlType.Q5_K or GgmlType.Q6_K;
                *scales = (Half)(isSuper ? 1e-4f : 5e-3f);
                if (type is GgmlType.Q4_1 or GgmlType.Q5_1 or GgmlType.Q4_K or GgmlType.Q5_K) scales[1] = (Half)(isSuper ? 1e-3f : -5e-2f);
            }
        }
    }
}

using System.Globalization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// Whether a libtorch computes on a device what it should: small computations beside the same in C#, in float64. A library of another
/// version than TorchSharp was made for may load and do something else.
/// </summary>
internal static class KnownAnswers
{
    private const int Size = 192;
    private const double Tolerance = 2e-6; // of the largest number; float32 keeps 6e-8 of each, and a product sums 192 of them

    /// <summary>What is wrong, a line for each computation; empty where all is right.</summary>
    public static IReadOnlyList<string> Wrong(Device device)
    {
        using var scope = NewDisposeScope();
        var wrong = new List<string>();
        foreach (var (name, compute) in Computations)
        {
            try
            {
                var (given, expected) = compute(device);
                var values = given.to(ScalarType.Float64).cpu().contiguous().data<double>().ToArray();
                if (values.Length != expected.Length)
                {
                    wrong.Add(string.Create(CultureInfo.InvariantCulture, $"{name}: {values.Length} numbers, expected {expected.Length}"));
                    continue;
                }

                // Enumerable.Max passes NaN over.
                var error = values.All(double.IsFinite)
                    ? values.Zip(expected, static (one, other) => Math.Abs(one - other)).Max() / expected.Max(Math.Abs) : double.NaN;
                if (error <= Tolerance) continue; // not where it is NaN
                wrong.Add(string.Create(CultureInfo.InvariantCulture, $"{name}: off by {error:G3} of the largest number"));
            }
            catch (Exception e) when (e is System.Runtime.InteropServices.ExternalException or EntryPointNotFoundException)
            {
                wrong.Add($"{name}: {e.Message.Split('\n')[0]}");
            }
        }

        return wrong;
    }

    private static (string Name, Func<Device, (Tensor Given, double[] Expected)> Compute)[] Computations =>
    [
        ("product", static device => (Matrix(device, 0).mm(Matrix(device, 1)), Product(Numbers(0), Numbers(1)))),
        ("batched product", static device => (
            stack([Matrix(device, 0), Matrix(device, 1)]).bmm(stack([Matrix(device, 1), Matrix(device, 0)])),
            [.. Product(Numbers(0), Numbers(1)), .. Product(Numbers(1), Numbers(0))])),
        ("cos", static device => (Matrix(device, 2).cos(), Of(2, Math.Cos))),
        ("sin", static device => (Matrix(device, 2).sin(), Of(2, Math.Sin))),
        ("exp", static device => (Matrix(device, 2).exp(), Of(2, Math.Exp))),
        ("sqrt", static device => (Matrix(device, 2).abs().sqrt(), Of(2, static x => Math.Sqrt(Math.Abs(x))))),
        ("log", static device => (Matrix(device, 2).abs().add(Living.Of(1.0), Living.One).log(),
            Of(2, static x => Math.Log(Math.Abs(x) + 1)))),
        ("tanh", static device => (Matrix(device, 2).tanh(), Of(2, Math.Tanh))),
        ("softmax", static device => (Matrix(device, 2).softmax(1), Softmax(Numbers(2)))),
        ("sum", static device => (
            Matrix(device, 2).sum(1), [.. Enumerable.Range(0, Size).Select(static row => Row(Numbers(2), row).Sum())])),
        ("rows by index", static device => (
            Matrix(device, 0).index_select(0, Backwards(device)),
            [.. Enumerable.Range(0, Size).SelectMany(row => Row(Numbers(0), Size - 1 - row))])),
        ("sort", static device => (Matrix(device, 0).sort(1).Values,
            [.. Enumerable.Range(0, Size).SelectMany(row => Row(Numbers(0), row).Order())])),
        ("gradient", static device =>
        {
            // Of the sum of (x w)^2 at w: 2 x^T (x w).
            var (x, w) = (Matrix(device, 0), Matrix(device, 1).requires_grad_());
            using var grad = enable_grad();
            x.mm(w).pow(Living.Of(2)).sum().backward();
            var (left, inner) = (Transposed(Numbers(0)), Product(Numbers(0), Numbers(1)));
            return (w.grad!, [.. Product(left, inner).Select(static value => 2 * value)]);
        }),
    ];

    // Of each element's place, so that any machine has the same: between -1 and 1, with 24 bits.
    private static double[] Numbers(int which) => [.. Enumerable.Range(0, Size * Size).Select(place =>
        (double)(float)(((place * 2654435761L + which * 40503L) % 16777216 - 8388608) / 8388608.0))];

    private static Tensor Matrix(Device device, int which) =>
        tensor(Numbers(which), [Size, Size], ScalarType.Float64, CPU).to(ScalarType.Float32).to(device);

    private static Tensor Backwards(Device device) =>
        tensor([.. Enumerable.Range(0, Size).Select(static row => (long)(Size - 1 - row))], ScalarType.Int64, CPU).to(device);

    private static double[] Of(int which, Func<double, double> function) => [.. Numbers(which).Select(function)];

    private static IEnumerable<double> Row(double[] matrix, int row) => matrix.Skip(row * Size).Take(Size);

    private static double[] Transposed(double[] matrix) =>
        [.. Enumerable.Range(0, Size * Size).Select(place => matrix[place % Size * Size + place / Size])];

    private static double[] Product(double[] left, double[] right)
    {
        var product = new double[Size * Size];
        for (var row = 0; row < Size; row++)
            for (var inner = 0; inner < Size; inner++)
                for (var column = 0; column < Size; column++)
                    product[row * Size + column] += left[row * Size + inner] * right[inner * Size + column];
        return product;
    }

    private static double[] Softmax(double[] matrix) => [.. Enumerable.Range(0, Size).SelectMany(row =>
    {
        var powers = Row(matrix, row).Select(Math.Exp).ToList();
        var sum = powers.Sum();
        return powers.Select(power => power / sum);
    })];
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>Distances between updates, all tensors as one vector.</summary>
internal static class Distances
{
    private const int Block = 4096;

    /// <summary>
    /// Squared L2 distance in float64: blocks of 4,096 elements, added in the order of names and blocks. The same bits on any vector
    /// width.
    /// </summary>
    public static double Squared(AdapterState first, AdapterState second)
    {
        var squares = 0.0;
        foreach (var (name, array) in first)
        {
            var (a, b) = (array.Data, second[name].Data);
            for (var start = 0; start < a.Length; start += Block)
            {
                var length = Math.Min(Block, a.Length - start);
                squares += SquaredBlock(a.AsSpan(start, length), b.AsSpan(start, length));
            }
        }

        return squares;
    }

    /// <summary>All of them, as a symmetric table with zeros on its diagonal.</summary>
    public static double[,] Between(IReadOnlyList<KeptUpdate> updates)
    {
        var table = new double[updates.Count, updates.Count];
        Parallel.For(0, updates.Count, i =>
        {
            for (var j = i + 1; j < updates.Count; j++)
                table[i, j] = table[j, i] = Squared(updates[i].Update, updates[j].Update);
        });
        return table;
    }

    // Eight sums side by side, since one sum is a chain of additions. Lanes are named, not left to the hardware, and multiplication
    // and addition are not fused: a processor with wider vectors gives the same bits.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double SquaredBlock(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var (even, odd) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var next = 0;
        for (; next <= a.Length - 8; next += 8)
        {
            var (firstLow, firstHigh) = Vector256.Widen(Vector256.Create(a.Slice(next, 8)));
            var (secondLow, secondHigh) = Vector256.Widen(Vector256.Create(b.Slice(next, 8)));
            var (low, high) = (firstLow - secondLow, firstHigh - secondHigh);
            even += low * low;
            odd += high * high;
        }

        var lanes = even + odd;
        var sum = lanes[0] + lanes[1] + lanes[2] + lanes[3];
        for (; next < a.Length; next++)
        {
            var difference = (double)a[next] - b[next];
            sum += difference * difference;
        }

        return sum;
    }
}

using System.Numerics.Tensors;

namespace FedRLora.Federation.Numerics;

/// <summary>
/// Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M): a list of compare-and-swap steps that
/// sorts any input of its size. The steps do not depend on the values, so that one step works on a whole block of columns with vector
/// instructions, where sorting each column by itself would branch on every comparison.
/// </summary>
internal sealed class SortingNetwork
{
    private readonly (int Low, int High)[] _steps;

    /// <param name="size">How many values are sorted.</param>
    public SortingNetwork(int size) => _steps = [.. MergeExchange(size)];

    /// <summary>
    /// Sorts every column of <paramref name="rows"/> upwards. The rows are exchanged with <paramref name="spare"/>, never copied. Minus
    /// zero comes before zero, so that the bits do not depend on the order of the rows.
    /// </summary>
    /// <param name="rows">As many as the network sorts; finite.</param>
    /// <param name="spare">One row more.</param>
    /// <param name="columns">Columns that are sorted.</param>
    public void SortColumns(float[][] rows, ref float[] spare, int columns)
    {
        foreach (var (low, high) in _steps)
        {
            ReadOnlySpan<float> first = rows[low].AsSpan(0, columns);
            var second = rows[high].AsSpan(0, columns);
            TensorPrimitives.Min(first, second, spare.AsSpan(0, columns));
            TensorPrimitives.Max(first, second, second);
            (rows[low], spare) = (spare, rows[low]);
        }
    }

    private static IEnumerable<(int Low, int High)> MergeExchange(int size)
    {
        var top = 1;
        while (2 * top < size)
            top *= 2;
        for (var p = size > 1 ? top : 0; p > 0; p /= 2)
        {
            for (var (q, r, d) = (top, 0, p); ; (d, q, r) = (q - p, q / 2, p))
            {
                for (var i = 0; i < size - d; i++)
                {
                    if ((i & p) == r)
                        yield return (i, i + d);
                }

                if (q == p)
                    break;
            }
        }
    }
}

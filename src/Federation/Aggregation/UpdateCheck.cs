using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>Whether an update can be aggregated at all.</summary>
public static class UpdateCheck
{
    /// <summary>Elements whose squares are summed before they are added to the rest.</summary>
    internal const int Block = 4096;

    /// <summary>The first thing that is wrong, in one line; null where nothing is.</summary>
    public static string? Find(AdapterShapes shapes, AdapterState update)
    {
        foreach (var (name, shape) in shapes)
        {
            if (!update.TryGetValue(name, out var array))
                return Missing(name);
            if (Find(name, shape, array) is { } problem)
                return problem;
        }
        var extra = update.Keys.FirstOrDefault(name => !shapes.ContainsKey(name));
        return extra is null ? null : Extra(extra);
    }

    /// <summary>That an update lacks a tensor, in one line.</summary>
    internal static string Missing(string name) => $"The update has no tensor {name}.";

    /// <summary>That an update has a tensor too many, in one line.</summary>
    internal static string Extra(string name) => $"The update has tensor {name}, which no client sends in this round.";

    /// <summary>What is wrong with an array, in one line; null where nothing is.</summary>
    public static string? Find(string name, IReadOnlyList<long> shape, NamedArray array) =>
        FindShape(name, shape, array.Shape) ?? FindValue(name, 0, array.Data);

    /// <summary>What is wrong with the shape that an array has, in one line; null where nothing is.</summary>
    internal static string? FindShape(string name, IReadOnlyList<long> expected, IReadOnlyList<long> shape) =>
        shape.SequenceEqual(expected)
            ? null
            : $"{name} has shape [{string.Join(", ", shape)}], expected [{string.Join(", ", expected)}].";

    /// <summary>The first of some elements of an array that is not finite, in one line; null where all are.</summary>
    internal static string? FindValue(string name, int start, ReadOnlySpan<float> values)
    {
        if (values.IsEmpty || TensorPrimitives.IsFiniteAll(values)) return null; // of none it says that they are not
        var index = 0;
        while (float.IsFinite(values[index])) index++;
        return FormattableString.Invariant($"{name} holds {values[index]} at element {start + index}.");
    }

    /// <summary>
    /// L2 norm of all tensors as one vector, in float64: sums of 4,096 elements in index order, added in the order of names and
    /// blocks. The same bits on any vector width.
    /// </summary>
    public static double Length(AdapterState update)
    {
        var squares = 0.0;
        foreach (var (_, array) in update)
            squares = AddSquares(squares, array.Data);
        return Math.Sqrt(squares);
    }

    private static double AddSquares(double sum, ReadOnlySpan<float> values)
    {
        Span<double> sums = stackalloc double[64];
        for (; !values.IsEmpty; values = values[Math.Min(sums.Length * Block, values.Length)..])
        {
            foreach (var one in sums[..SumSquares(values[..Math.Min(sums.Length * Block, values.Length)], sums)])
                sum += one;
        }
        return sum;
    }

    /// <summary>Sums the squares of each block; returns how many blocks there are.</summary>
    // A block's sum is a chain of additions, so four are summed side by side. Compiled well from the first call: one call may run
    // over many elements.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static int SumSquares(ReadOnlySpan<float> values, Span<double> sums)
    {
        var next = 0;
        for (; values.Length >= 4 * Block; values = values[(4 * Block)..])
        {
            var (lanes, first, second, third, fourth) = (Vector256<double>.Zero, 0, Block, 2 * Block, 3 * Block);
            for (; first < Block; first++, second++, third++, fourth++)
            {
                var four = Vector256.Create((double)values[first], values[second], values[third], values[fourth]);
                lanes += four * four;
            }
            lanes.CopyTo(sums[next..]);
            next += 4;
        }
        for (; !values.IsEmpty; values = values[Math.Min(Block, values.Length)..])
        {
            var one = 0.0;
            foreach (double value in values[..Math.Min(Block, values.Length)])
                one += value * value;
            sums[next++] = one;
        }
        return next;
    }
}

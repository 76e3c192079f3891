using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>Whether an update can be aggregated at all.</summary>
public static class UpdateCheck
{
    private const int Block = 4096;

    /// <summary>The first thing that is wrong, in one line; null where nothing is.</summary>
    public static string? Find(AdapterShapes shapes, AdapterState update)
    {
        foreach (var (name, shape) in shapes)
        {
            if (!update.TryGetValue(name, out var array))
                return $"The update has no tensor {name}.";
            if (Find(name, shape, array) is { } problem)
                return problem;
        }
        var extra = update.Keys.FirstOrDefault(name => !shapes.ContainsKey(name));
        return extra is null ? null : $"The update has tensor {extra}, which no client sends in this round.";
    }

    /// <summary>What is wrong with an array, in one line; null where nothing is.</summary>
    public static string? Find(string name, IReadOnlyList<long> shape, NamedArray array)
    {
        if (!array.Shape.SequenceEqual(shape))
            return $"{name} has shape [{string.Join(", ", array.Shape)}], expected [{string.Join(", ", shape)}].";
        return FirstNotFinite(array.Data) is { } index
            ? FormattableString.Invariant($"{name} holds {array.Data[index]} at element {index}.")
            : null;
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

    // A block's sum is a chain of additions, so four are summed side by side. Compiled well from the first call: one call may run
    // over a hundred million elements.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double AddSquares(double sum, ReadOnlySpan<float> values)
    {
        for (; values.Length >= 4 * Block; values = values[(4 * Block)..])
        {
            var (lanes, first, second, third, fourth) = (Vector256<double>.Zero, 0, Block, 2 * Block, 3 * Block);
            for (; first < Block; first++, second++, third++, fourth++)
            {
                var four = Vector256.Create((double)values[first], values[second], values[third], values[fourth]);
                lanes += four * four;
            }
            sum = sum + lanes[0] + lanes[1] + lanes[2] + lanes[3];
        }
        for (; !values.IsEmpty; values = values[Math.Min(Block, values.Length)..])
        {
            var one = 0.0;
            foreach (double value in values[..Math.Min(Block, values.Length)])
                one += value * value;
            sum += one;
        }
        return sum;
    }

    private static int? FirstNotFinite(float[] data)
    {
        if (TensorPrimitives.IsFiniteAll<float>(data))
            return null;
        return Array.FindIndex(data, static value => !float.IsFinite(value));
    }
}

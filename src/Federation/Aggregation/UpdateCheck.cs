using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>Whether an update can be aggregated at all.</summary>
public static class UpdateCheck
{
    /// <summary>The first thing that is wrong, in one line; null where nothing is.</summary>
    public static string? Find(AdapterShapes shapes, AdapterState update)
    {
        foreach (var (name, shape) in shapes)
        {
            if (!update.TryGetValue(name, out var array))
                return $"The update has no tensor {name}.";
            if (!array.Shape.SequenceEqual(shape))
                return $"{name} has shape [{string.Join(", ", array.Shape)}], expected [{string.Join(", ", shape)}].";
            if (FirstNotFinite(array.Data) is { } index)
                return FormattableString.Invariant($"{name} holds {array.Data[index]} at element {index}.");
        }
        var extra = update.Keys.FirstOrDefault(name => !shapes.ContainsKey(name));
        return extra is null ? null : $"The update has tensor {extra}, which is not shared.";
    }

    /// <summary>L2 norm of all tensors as one vector, summed in float64 in the order of names and elements: the same bits on any vector width.</summary>
    public static double Length(AdapterState update)
    {
        var squares = 0.0;
        foreach (var (_, array) in update)
            squares = AddSquares(squares, array.Data);
        return Math.Sqrt(squares);
    }

    // Compiled well from the first call: one call may run over a hundred million elements.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double AddSquares(double sum, ReadOnlySpan<float> values)
    {
        foreach (double value in values)
            sum += value * value;
        return sum;
    }

    private static int? FirstNotFinite(float[] data)
    {
        if (TensorPrimitives.IsFiniteAll<float>(data))
            return null;
        return Array.FindIndex(data, static value => !float.IsFinite(value));
    }
}

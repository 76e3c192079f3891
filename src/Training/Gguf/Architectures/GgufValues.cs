using FedRLora.Training.Quantization;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>The numbers of a parameter as float32, in Hugging Face's layout.</summary>
internal static unsafe class GgufValues
{
    /// <summary>All numbers of a tensor, as the file has them.</summary>
    public static float[] Of(GgufFile file, GgufTensor tensor)
    {
        var values = new float[tensor.Count];
        fixed (float* target = values) GgmlBlocks.Widen(tensor.Type, file.PointerTo(tensor), target, values.LongLength);
        return values;
    }

    /// <summary>Some rows of a parameter; a vector is one number to a row.</summary>
    /// <param name="file">The file.</param>
    /// <param name="parameter">Where it has the parameter.</param>
    /// <param name="first">The first row.</param>
    /// <param name="target">As many numbers as whole rows have.</param>
    public static void Rows(GgufFile file, GgufParameter parameter, long first, Span<float> target)
    {
        if (parameter.Shape.Length == 1 || parameter.IsTransposed) Scattered(file, parameter, first, target);
        else WholeRows(file, parameter, first, target);
        if (parameter.Added == 0) return;
        foreach (ref var value in target) value -= parameter.Added;
    }

    private static void WholeRows(GgufFile file, GgufParameter parameter, long first, Span<float> target)
    {
        var (type, columns) = (parameter.Tensor.Type, parameter.Tensor.Columns);
        var start = file.PointerTo(parameter.Tensor);
        var (rowBytes, rows) = (type.RowBytes(columns), target.Length / columns);
        fixed (float* to = target)
        {
            if (parameter.Rows is not { } order)
            {
                GgmlBlocks.Widen(type, start + first * rowBytes, to, rows * columns);
                return;
            }

            for (var row = 0L; row < rows; row++)
                GgmlBlocks.Widen(type, start + order[first + row] * rowBytes, to + row * columns, columns);
        }
    }

    // A vector, whose numbers move, or a matrix the other way round: from all of the tensor's numbers.
    private static void Scattered(GgufFile file, GgufParameter parameter, long first, Span<float> target)
    {
        var values = Of(file, parameter.Tensor);
        if (!parameter.IsTransposed)
        {
            for (var i = 0; i < target.Length; i++) target[i] = values[parameter.Rows?[first + i] ?? first + i];
            return;
        }

        var (rows, columns) = (parameter.Tensor.Rows, parameter.Tensor.Columns);
        for (var i = 0; i < target.Length; i++) target[i] = values[i % rows * columns + first + i / rows];
    }
}

using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>Parts of a GGUF file for another one.</summary>
internal static class GgufCopy
{
    /// <summary>Adds what a file says of itself, but for some keys.</summary>
    public static GgufWriter Keys(this GgufWriter writer, GgufMetadata metadata, params string[] without)
    {
        foreach (var key in metadata.Keys.Except(without, StringComparer.Ordinal))
        {
            _ = metadata.ValueOf(key)!.Value.Type switch
            {
                GgufValueType.Text => writer.Set(key, metadata.Text(key)),
                GgufValueType.Float32 => writer.Set(key, metadata.Number(key)),
                GgufValueType.Bool => writer.Set(key, metadata.OptionalFlag(key)),
                GgufValueType.Array => throw new NotSupportedException(key),
                _ => writer.Set(key, metadata.OptionalInteger(key)),
            };
        }

        return writer;
    }

    /// <summary>The tensors of a file.</summary>
    public static List<GgufNewTensor> Tensors(string path)
    {
        using var file = GgufFile.Open(path);
        return [.. file.Tensors.Values.Select(tensor => Of(tensor.Name, tensor.Shape, GgufValues.Of(file, tensor)))];
    }

    /// <summary>A tensor of these numbers.</summary>
    public static GgufNewTensor Of(string name, long[] shape, float[] values) => new(name, GgmlType.F32, shape,
        (first, target) => values.AsSpan((int)(first * shape[^1]), target.Length).CopyTo(target));
}

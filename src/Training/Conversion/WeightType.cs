using FedRLora.Training.Gguf;

namespace FedRLora.Training.Conversion;

/// <summary>How the weights of a converted model are stored.</summary>
public enum WeightType
{
    /// <summary>float32, which keeps every number.</summary>
    F32,

    /// <summary>float16.</summary>
    F16,

    /// <summary>bfloat16.</summary>
    BF16,

    /// <summary>q8_0: blocks of 32 bytes and a scale; in a GGUF file alone.</summary>
    Q8,
}

/// <summary>What became of a model.</summary>
/// <param name="Types">How many tensors were written as which type, the most frequent first.</param>
/// <param name="Notes">Tensors that could not take the wanted type, and what they became; a line each.</param>
public sealed record ConversionReport(IReadOnlyList<(string Type, int Tensors)> Types, IReadOnlyList<string> Notes)
{
    /// <summary>How many tensors were stored as which type before, the most frequent first; empty where that is not known.</summary>
    public IReadOnlyList<(string Type, int Tensors)> Before { get; init; } = [];
}

/// <summary>The types by their names.</summary>
public static class WeightTypes
{
    /// <summary>The name that llama.cpp's converter gives to each.</summary>
    public static IReadOnlyDictionary<string, WeightType> ByName { get; } = new Dictionary<string, WeightType>(StringComparer.Ordinal)
    {
        ["f32"] = WeightType.F32, ["f16"] = WeightType.F16, ["bf16"] = WeightType.BF16, ["q8_0"] = WeightType.Q8,
    };

    internal static GgmlType InGguf(this WeightType type) => type switch
    {
        WeightType.F32 => GgmlType.F32,
        WeightType.F16 => GgmlType.F16,
        WeightType.BF16 => GgmlType.BF16,
        _ => GgmlType.Q8_0,
    };

    /// <summary>The value of <c>general.file_type</c>, llama.cpp's <c>llama_ftype</c>.</summary>
    internal static int FileType(this WeightType type) => type switch
    {
        WeightType.F32 => 0,
        WeightType.F16 => 1,
        WeightType.BF16 => 32,
        _ => 7,
    };
}

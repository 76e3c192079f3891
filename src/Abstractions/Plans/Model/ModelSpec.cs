namespace FedRLora.Abstractions.Plans;

/// <summary>The frozen base model.</summary>
public sealed record ModelSpec
{
    /// <summary>A Hugging Face folder or a GGUF file, relative to the plan's folder (simulate) or to the silo's root.</summary>
    public required string Path { get; init; }

    /// <summary>How the frozen weights lie in memory.</summary>
    public WeightStorage Storage { get; init; }

    /// <summary>Whether a base is computed with the numbers of its files, unrounded.</summary>
    public bool IsExact => Storage is WeightStorage.AsStored or WeightStorage.Float32;
}

/// <summary>
/// How the matrices of a frozen base lie in memory. Products are computed in float32 whatever it is; norms, biases and tables of positions
/// are float32 always.
/// </summary>
public enum WeightStorage
{
    /// <summary>As the files have them: in their own pages, which all processes share. Numbers are those of the files.</summary>
    AsStored,

    /// <summary>Four bytes a number: the fastest steps.</summary>
    Float32,

    /// <summary>Two bytes, the range of float32.</summary>
    Bfloat16,

    /// <summary>Two bytes, more digits in a smaller range.</summary>
    Float16,

    /// <summary>A byte and a scale for each output of a linear layer, as LLM.int8 stores weights (arXiv:2208.07339).</summary>
    Int8,

    /// <summary>Four bits a number of a linear layer with double quantization, as QLoRA defines it (arXiv:2305.14314).</summary>
    Nf4,
}

/// <summary>Names of <see cref="WeightStorage"/>.</summary>
public static class WeightStorageNames
{
    /// <summary>As plans and options write it.</summary>
    public static string Word(this WeightStorage storage) => char.ToLowerInvariant($"{storage}"[0]) + $"{storage}"[1..];
}

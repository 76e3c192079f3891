namespace FedRLora.Abstractions.Plans;

/// <summary>The frozen base model.</summary>
public sealed record ModelSpec
{
    /// <summary>A Hugging Face folder, relative to the plan's folder (simulate) or to the silo's root.</summary>
    public required string Path { get; init; }

    /// <summary>How the frozen weights lie in memory; what is computed is float32 whatever they are stored as.</summary>
    public WeightStorage Storage { get; init; }
}

/// <summary>The element type of frozen weights in memory.</summary>
public enum WeightStorage
{
    /// <summary>Four bytes; a float32 file is not even copied.</summary>
    Float32,

    /// <summary>Two bytes, the range of float32; a bfloat16 file is not even copied.</summary>
    Bfloat16,

    /// <summary>Two bytes, more digits in a smaller range; a float16 file is not even copied.</summary>
    Float16,
}

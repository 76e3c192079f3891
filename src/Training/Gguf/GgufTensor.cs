namespace FedRLora.Training.Gguf;

/// <summary>A tensor of a GGUF file.</summary>
/// <param name="Name">llama.cpp's name, for example <c>blk.0.attn_q.weight</c>.</param>
/// <param name="Type">How its numbers are stored.</param>
/// <param name="Shape">Outermost first, as PyTorch's; the file lists the row's length first.</param>
/// <param name="Offset">Of its first byte in its file.</param>
/// <param name="SizeBytes">Bytes that it takes.</param>
internal sealed record GgufTensor(string Name, GgmlType Type, long[] Shape, long Offset, long SizeBytes)
{
    /// <summary>In which part of a model in several files, from 0.</summary>
    public int Part { get; init; }

    /// <summary>Numbers in a row.</summary>
    public long Columns => Shape[^1];

    /// <summary>How many rows; 1 for a vector.</summary>
    public long Rows => Count / Columns;

    /// <summary>Numbers in all.</summary>
    public long Count => Shape.Aggregate(1L, static (product, size) => product * size);
}

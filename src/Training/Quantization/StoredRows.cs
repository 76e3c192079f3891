using FedRLora.Training.Gguf;

namespace FedRLora.Training.Quantization;

/// <summary>A matrix that is stored otherwise than it is computed with: its rows are widened to float32 where they are needed.</summary>
internal unsafe interface IStoredRows
{
    /// <summary>Width of a row.</summary>
    long Columns { get; }

    /// <summary>Writes rows as float32, one behind the other.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <param name="target"><c>[count, Columns]</c>.</param>
    void Widen(long first, long count, float* target);
}

/// <summary>Rows of a GGUF file's blocks, also such as are just floats.</summary>
/// <param name="type">How they are stored.</param>
/// <param name="blocks">Those of the first row, aligned or not.</param>
/// <param name="columns">A multiple of the block's values.</param>
internal readonly unsafe struct GgmlRows(GgmlType type, byte* blocks, long columns) : IStoredRows
{
    private readonly long _rowBytes = type.RowBytes(columns);

    public long Columns => columns;

    public void Widen(long first, long count, float* target) =>
        GgmlBlocks.Widen(type, blocks + first * _rowBytes, target, count * columns);
}

/// <summary>Rows in <see cref="Nf4"/>, whose blocks run over the ends of rows.</summary>
internal readonly unsafe struct Nf4Rows(Nf4Values values, long columns) : IStoredRows
{
    public long Columns => columns;

    public void Widen(long first, long count, float* target) => Nf4.Widen(values, first * columns, count * columns, target);
}

/// <summary>Rows of <see cref="Int8Rows"/>.</summary>
internal readonly unsafe struct Int8Stored(sbyte* codes, float* absmax, long columns) : IStoredRows
{
    public long Columns => columns;

    public void Widen(long first, long count, float* target) =>
        Int8Rows.Widen(codes + first * columns, absmax + first, count, columns, target);
}

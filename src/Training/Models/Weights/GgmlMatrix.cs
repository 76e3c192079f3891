using FedRLora.Training.Gguf;
using FedRLora.Training.Quantization;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>A matrix as ggml's blocks, or as 16-bit floats, in the pages of its file, which all processes share.</summary>
/// <param name="start">Address of the first row.</param>
/// <param name="type">How the numbers are stored.</param>
/// <param name="rows">How many rows.</param>
/// <param name="columns">Numbers in a row, a multiple of the type's block.</param>
/// <param name="places">Where the file has a row; null where it has all in our order.</param>
/// <param name="floats">The tensor of half precision whose memory this is, which the matrix owns; null where a file has it.</param>
/// <param name="file">Whose pages they are; whoever multiplies keeps it with the matrix, and the model disposes it.</param>
internal sealed unsafe class GgmlMatrix(
    byte* start, GgmlType type, long rows, long columns, int[]? places = null, Tensor? floats = null,
    GgufFile? file = null)
    : BlockMatrix(rows, columns)
{
    private readonly long _rowBytes = type.RowBytes(columns);

    public override string Storage => type switch
    {
        GgmlType.F16 => "float16",
        GgmlType.BF16 => "bfloat16",
        GgmlType.F32 => "float32",
        _ => type.ToString(),
    };

    public override long SizeBytes => Rows * _rowBytes;

    protected override Tensor? Floats => floats;

    public override void Dispose() => floats?.Dispose();

    protected override void Widen(long first, long count, float* target)
    {
        if (places is null)
        {
            GgmlBlocks.Widen(type, start + first * _rowBytes, target, count * Columns);
        }
        else
        {
            for (var row = 0L; row < count; row++)
                GgmlBlocks.Widen(type, start + places[first + row] * _rowBytes, target + row * Columns, Columns);
        }

        GC.KeepAlive(file);
    }
}

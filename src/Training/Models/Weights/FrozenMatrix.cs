using FedRLora.Training.Gguf;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A frozen matrix <c>[Rows, Columns]</c> in the orientation of its file, however its numbers are stored. Nobody writes it: all lanes
/// and passes read one.
/// </summary>
internal abstract class FrozenMatrix(long rows, long columns) : IDisposable
{
    /// <summary>How many rows.</summary>
    public long Rows => rows;

    /// <summary>Numbers in a row.</summary>
    public long Columns => columns;

    /// <summary>As what the numbers are stored, for example <c>float32</c>, <c>Q4_1</c>, <c>nf4</c>.</summary>
    public abstract string Storage { get; }

    /// <summary>Bytes that the numbers take.</summary>
    public abstract long SizeBytes { get; }

    /// <summary>What is computed with: float32, or float64 where the numbers are that wide.</summary>
    public abstract ScalarType Dtype { get; }

    /// <summary>The other way round than the family's files have it: an output a row, where they have an input a row.</summary>
    public bool IsTransposed { get; init; }

    /// <summary>All of it, <c>[Rows, Columns]</c>: the stored tensor itself where it has the type, else a new one.</summary>
    public abstract Tensor Whole(ScalarType dtype);

    /// <summary>Rows next to each other as float32, <c>[count, Columns]</c>.</summary>
    public abstract Tensor Part(long first, long count);

    /// <summary>Some rows, <c>[n, Columns]</c>.</summary>
    /// <param name="ids">int64 <c>[n]</c>, each below <see cref="Rows"/>.</param>
    /// <param name="dtype">Of the result.</param>
    public abstract Tensor Gather(Tensor ids, ScalarType dtype);

    /// <summary>target = x W^T, or plus that.</summary>
    /// <param name="target"><c>[M, Rows]</c>.</param>
    /// <param name="x"><c>[M, Columns]</c>.</param>
    /// <param name="keeps">Adds to what is there.</param>
    /// <param name="compute">Both sides are rounded to it before they are multiplied.</param>
    public abstract void TimesTransposed(Tensor target, Tensor x, bool keeps, ScalarType compute);

    /// <summary>target = x W, or plus that.</summary>
    /// <param name="target"><c>[M, Columns]</c>.</param>
    /// <param name="x"><c>[M, Rows]</c>.</param>
    /// <param name="keeps">Adds to what is there.</param>
    /// <param name="compute">Both sides are rounded to it before they are multiplied.</param>
    public abstract void Times(Tensor target, Tensor x, bool keeps, ScalarType compute);

    /// <inheritdoc/>
    public abstract void Dispose();

    /// <summary>The tensor itself where it has the type.</summary>
    protected static Tensor As(Tensor x, ScalarType dtype) => x.dtype == dtype ? x : x.to(dtype);

    /// <summary>target = left right, or plus that; summed in the target's type at the end where the factors are narrower.</summary>
    protected static void Add(Tensor target, Tensor left, Tensor right, bool keeps)
    {
        if (left.dtype == target.dtype) target.addmm_(left, right, keeps ? 1 : 0, 1);
        else if (keeps) target.add_(left.mm(right), Living.One);
        else target.copy_(left.mm(right));
    }
}

/// <summary>A matrix as a tensor of floats, on any device.</summary>
/// <param name="values"><c>[Rows, Columns]</c>; the matrix owns it.</param>
internal sealed class FloatMatrix(Tensor values) : FrozenMatrix(values.shape[0], values.shape[1])
{
    public override string Storage => values.dtype.ToString().ToLowerInvariant();

    public override long SizeBytes => values.numel() * values.element_size();

    public override ScalarType Dtype => values.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>The stored tensor.</summary>
    public Tensor Values => values;

    public override Tensor Whole(ScalarType dtype) => values.dtype == dtype ? values : values.to(dtype);

    public override Tensor Part(long first, long count) => values.narrow(0, first, count).to(ScalarType.Float32).cpu().contiguous();

    public override Tensor Gather(Tensor ids, ScalarType dtype) => values.index_select(0, ids).to(dtype);

    public override void TimesTransposed(Tensor target, Tensor x, bool keeps, ScalarType compute) =>
        Add(target, As(x, compute), Whole(compute).t(), keeps);

    public override void Times(Tensor target, Tensor x, bool keeps, ScalarType compute) =>
        Add(target, As(x, compute), Whole(compute), keeps);

    public override void Dispose() => values.Dispose();
}

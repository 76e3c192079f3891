using FedRLora.Training.Kernels;
using FedRLora.Training.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A matrix in the host's memory whose rows must be widened to float32 before they are multiplied: a few at a time, into memory that the
/// processor's cache holds, so that the whole never exists as floats.
/// </summary>
internal abstract unsafe class BlockMatrix(long rows, long columns) : FrozenMatrix(rows, columns)
{
    // 2 MB of float32: what is widened is still in the cache when the product reads it.
    private const long BufferElements = 1 << 19;

    [ThreadStatic]
    private static Tensor? _buffer;

    [ThreadStatic]
    private static Tensor? _rounded;

    public override ScalarType Dtype => ScalarType.Float32;

    /// <summary>All of it as it is stored, where that is a tensor of floats; null where it is not.</summary>
    protected virtual Tensor? Floats => null;

    /// <summary>Writes rows as float32.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <param name="target"><c>[count, Columns]</c>.</param>
    protected abstract void Widen(long first, long count, float* target);

    public override Tensor Whole(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        return Part(0, Rows).to(dtype).MoveToOuterDisposeScope();
    }

    public override Tensor Part(long first, long count)
    {
        var rows = empty([count, Columns], ScalarType.Float32, CPU);
        WidenInto(rows, first, count);
        return rows;
    }

    public override Tensor Gather(Tensor ids, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var rows = empty([ids.shape[0], Columns], ScalarType.Float32, CPU);
        if (ids.shape[0] == 0) return rows.to(dtype).MoveToOuterDisposeScope();
        var target = (float*)FrozenMatrices.PointerTo(rows);
        foreach (var id in ids.data<long>())
        {
            if (id < 0 || id >= Rows) throw new ArgumentOutOfRangeException(nameof(ids), id, $"The matrix has {Rows} rows.");
            Widen(id, 1, target);
            target += Columns;
        }

        GC.KeepAlive(this); // memory goes with a matrix that nobody refers to
        return rows.to(dtype).MoveToOuterDisposeScope();
    }

    public override void TimesTransposed(Tensor target, Tensor x, bool keeps, ScalarType compute)
    {
        if (x.shape[0] == 0) return;
        using var scope = NewDisposeScope();
        var from = As(x, compute);
        if (Floats is { } floats && floats.dtype == compute) Add(target, from, floats.t(), keeps);
        else if (!keeps && IsByRows(compute, target, x)) ByRows(target, x.contiguous());
        else ByTile(compute, (tile, first, count) => Add(target.narrow(1, first, count), from, tile.t(), keeps));
    }

    public override void Times(Tensor target, Tensor x, bool keeps, ScalarType compute)
    {
        if (x.shape[0] == 0) return;
        using var scope = NewDisposeScope();
        var from = As(x, compute);
        if (Floats is { } floats && floats.dtype == compute) Add(target, from, floats, keeps);
        else if (target.is_contiguous() && IsByRows(compute, target, x)) ByRowsBack(target, x.contiguous(), keeps);
        else ByTile(compute, (tile, first, count) => Add(target, from.narrow(1, first, count), tile, keeps || first > 0));
    }

    // Our own products of widened rows are faster than a widened tile with libtorch's where registers are wide, and for few rows anywhere;
    // and no bit of a row depends on which rows lie beside it.
    private static bool IsByRows(ScalarType compute, Tensor target, Tensor x) =>
        compute == ScalarType.Float32 && x.dtype == compute && target.dtype == compute && target.stride(1) == 1
        && x.shape[0] <= RowProducts.MostRows;

    private void ByRows(Tensor target, Tensor x)
    {
        var (from, to) = ((nint)FrozenMatrices.PointerTo(x), (nint)FrozenMatrices.PointerTo(target));
        var (height, width) = ((int)x.shape[0], target.stride(0));
        Shares.Do(Rows, Rows * Columns, (first, end, _) =>
            RowProducts.Multiply(new Stored(this), first, end, (float*)from, height, (float*)to, width));
        GC.KeepAlive(this);
    }

    private void ByRowsBack(Tensor target, Tensor gradient, bool keeps)
    {
        var (from, to) = ((nint)FrozenMatrices.PointerTo(gradient), (nint)FrozenMatrices.PointerTo(target));
        Shares.Do(gradient.shape[0], gradient.shape[0] * Columns, (first, end, _) => RowProducts.MultiplyBack(
            new Stored(this), Rows, (float*)from + first * Rows, (int)(end - first), (float*)to + first * Columns, keeps));
        GC.KeepAlive(this);
    }

    // Rows of the matrix, some at a time, in the type of the product.
    private void ByTile(ScalarType compute, Action<Tensor, long, long> work)
    {
        var most = Math.Clamp(BufferElements / Columns, 1, Rows);
        using var widened = BufferOf(ref _buffer, most, ScalarType.Float32);
        using var rounded = compute == ScalarType.Float32 ? null : BufferOf(ref _rounded, most, compute);
        for (var first = 0L; first < Rows; first += most)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(most, Rows - first);
            var tile = widened.narrow(0, 0, count);
            WidenInto(tile, first, count);
            work(rounded is null ? tile : rounded.narrow(0, 0, count).copy_(tile), first, count);
        }
    }

    private void WidenInto(Tensor target, long first, long count)
    {
        var to = (nint)FrozenMatrices.PointerTo(target);
        Shares.Do(count, count * Columns, (begin, end, _) => Widen(first + begin, end - begin, (float*)to + begin * Columns));
        GC.KeepAlive(this);
    }

    // A view of the thread's own memory, which grows to the largest that it was asked for.
    private Tensor BufferOf(ref Tensor? kept, long rows, ScalarType dtype)
    {
        if (kept is null || kept.dtype != dtype || kept.numel() < rows * Columns)
        {
            kept?.Dispose();
            kept = empty([Math.Max(rows * Columns, BufferElements)], dtype, CPU).DetachFromDisposeScope();
        }

        return kept.narrow(0, 0, rows * Columns).view(rows, Columns);
    }

    private readonly struct Stored(BlockMatrix matrix) : IStoredRows
    {
        public long Columns => matrix.Columns;

        public void Widen(long first, long count, float* target) => matrix.Widen(first, count, target);
    }
}

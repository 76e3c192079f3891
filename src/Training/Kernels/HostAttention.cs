using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>Of what attention is.</summary>
/// <param name="Sequences">S, one after the other.</param>
/// <param name="Length">T of each.</param>
/// <param name="Heads">Attention heads of the queries.</param>
/// <param name="KeyHeads">Of keys and values; each serves a group of query heads.</param>
/// <param name="HeadDim">Width of an attention head.</param>
/// <param name="Window">How many positions a query sees, its own included; null for all before it.</param>
internal readonly record struct AttentionShape(int Sequences, int Length, int Heads, int KeyHeads, int HeadDim, int? Window)
{
    private const int Width = 16;

    /// <summary>Queries that share the scores in memory.</summary>
    public const int Block = 64;

    /// <summary>T in whole registers.</summary>
    public int PaddedLength => (Length + Width - 1) / Width * Width;

    /// <summary>The width of an attention head in whole registers.</summary>
    public int PaddedDim => (HeadDim + Width - 1) / Width * Width;

    /// <summary>Memory that the passes need beside their results, in elements; anything may lie in it.</summary>
    public long ScratchElements => 7L * PaddedLength * PaddedDim + 2L * Block * PaddedLength + (long)Block * PaddedDim;

    /// <summary>The first position that a query sees.</summary>
    public int FirstOf(int query) => Window is { } window ? Math.Max(0, query - window + 1) : 0;
}

/// <summary>
/// Causal attention, one attention head of one sequence after the other: what a query may not see is not computed, and scores never
/// leave the processor's cache. Each number is a chain of sums in the order of positions, so no bit depends on how it is cut.
/// </summary>
internal abstract class HostAttention
{
    /// <summary>softmax(query key^T / sqrt(headDim)) value.</summary>
    /// <param name="query"><c>[S T, heads headDim]</c>.</param>
    /// <param name="key"><c>[S T, keyHeads headDim]</c>.</param>
    /// <param name="value">As <paramref name="key"/>.</param>
    /// <param name="shape">Of all of them.</param>
    /// <param name="scratch">Of at least the shape's elements.</param>
    /// <param name="mixed">Receives the result, as <paramref name="query"/>.</param>
    /// <param name="norms">Receives what turns scores into probabilities, <c>[S T, 2 heads]</c>: the highest and one over the sum.</param>
    public abstract void Forward(Tensor query, Tensor key, Tensor value, AttentionShape shape, Tensor scratch, Tensor mixed, Tensor norms);

    /// <summary>The gradients.</summary>
    /// <param name="query">As given.</param>
    /// <param name="key">As given.</param>
    /// <param name="value">As given.</param>
    /// <param name="norms">As received.</param>
    /// <param name="gradient">Of the result.</param>
    /// <param name="shape">Of all of them.</param>
    /// <param name="scratch">Of at least the shape's elements.</param>
    /// <param name="queryGradient">Receives the gradient at the queries.</param>
    /// <param name="keyGradient">Receives the gradient at the keys.</param>
    /// <param name="valueGradient">Receives the gradient at the values.</param>
    public abstract void Backward(
        Tensor query, Tensor key, Tensor value, Tensor norms, Tensor gradient, AttentionShape shape, Tensor scratch, Tensor queryGradient, Tensor keyGradient, Tensor valueGradient);
}

/// <inheritdoc/>
internal sealed unsafe class HostAttention<T> : HostAttention
    where T : struct, ISixteen<T>
{
    private const int Group = Products<T>.Group;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Forward(Tensor query, Tensor key, Tensor value, AttentionShape shape, Tensor scratch, Tensor mixed, Tensor norms)
    {
        var (length, dim, wide, columns) = (shape.Length, shape.HeadDim, shape.PaddedDim, shape.PaddedLength);
        long queryRow = (long)shape.Heads * dim, keyRow = (long)shape.KeyHeads * dim;
        float* q = Memory.Of(query), k = Memory.Of(key), v = Memory.Of(value), y = Memory.Of(mixed), norm = Memory.Of(norms);
        float* keys = Memory.Of(scratch), values = keys + (long)wide * columns, scores = values + (long)wide * columns, sums = scores + (long)AttentionShape.Block * columns;
        var (scale, group) = (1 / MathF.Sqrt(dim), shape.Heads / shape.KeyHeads);
        for (var sequence = 0; sequence < shape.Sequences; sequence++)
        {
            var start = (long)sequence * length;
            for (var head = 0; head < shape.Heads; head++)
            {
                var from = q + start * queryRow + head * dim;
                if (head % group == 0)
                {
                    var place = start * keyRow + head / group * dim;
                    Turned(k + place, keyRow, length, dim, keys, columns);
                    Copied(v + place, keyRow, length, dim, values, wide);
                }

                for (var first = 0; first < length; first += Group)
                {
                    var count = Math.Min(Group, length - first);
                    var (low, high) = (shape.FirstOf(first), first + count);
                    var (left, width) = (low & ~15, ((high + 15) & ~15) - (low & ~15));
                    Products<T>.Multiply(from + first * queryRow, queryRow, 1, keys + left, columns, scores + left, columns, count, width, dim, adds: false);
                    for (var i = 0; i < count; i++)
                    {
                        var row = scores + (long)i * columns;
                        var seen = shape.FirstOf(first + i);
                        var visible = first + i + 1 - seen;
                        var highest = Rows<T>.Highest(row + seen, visible) * scale;
                        var inverse = 1 / Rows<T>.ToExponentials(row + seen, visible, scale, highest);
                        Clear(row, left, seen);
                        Clear(row, first + i + 1, left + width);
                        var at = norm + 2 * ((start + first + i) * shape.Heads + head);
                        (at[0], at[1]) = (highest, inverse);
                    }

                    Products<T>.Multiply(scores + low, columns, 1, values + (long)low * wide, wide, sums, wide, count, wide, high - low, adds: false);
                    for (var i = 0; i < count; i++)
                    {
                        var inverse = norm[2 * ((start + first + i) * shape.Heads + head) + 1];
                        float* to = y + (start + first + i) * queryRow + head * dim, sum = sums + (long)i * wide;
                        for (var d = 0; d < dim; d++) to[d] = sum[d] * inverse;
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Backward(
        Tensor query, Tensor key, Tensor value, Tensor norms, Tensor gradient, AttentionShape shape, Tensor scratch, Tensor queryGradient, Tensor keyGradient, Tensor valueGradient)
    {
        var (length, dim, wide, columns) = (shape.Length, shape.HeadDim, shape.PaddedDim, shape.PaddedLength);
        long queryRow = (long)shape.Heads * dim, keyRow = (long)shape.KeyHeads * dim, size = (long)wide * columns;
        float* q = Memory.Of(query), k = Memory.Of(key), v = Memory.Of(value), dy = Memory.Of(gradient), norm = Memory.Of(norms);
        float* toQuery = Memory.Of(queryGradient), toKey = Memory.Of(keyGradient), toValue = Memory.Of(valueGradient);
        float* turnedKeys = Memory.Of(scratch), turnedValues = turnedKeys + size, keys = turnedValues + size, queries = keys + size, given = queries + size;
        float* atKeys = given + size, atValues = atKeys + size, scores = atValues + size, slopes = scores + (long)AttentionShape.Block * columns, sums = slopes + (long)AttentionShape.Block * columns;
        var (scale, group) = (1 / MathF.Sqrt(dim), shape.Heads / shape.KeyHeads);
        for (var sequence = 0; sequence < shape.Sequences; sequence++)
        {
            var start = (long)sequence * length;
            for (var head = 0; head < shape.Heads; head++)
            {
                var (from, place) = (start * queryRow + head * dim, start * keyRow + head / group * dim);
                if (head % group == 0)
                {
                    Turned(k + place, keyRow, length, dim, turnedKeys, columns);
                    Turned(v + place, keyRow, length, dim, turnedValues, columns);
                    Copied(k + place, keyRow, length, dim, keys, wide);
                    new Span<float>(atKeys, (int)size).Clear();
                    new Span<float>(atValues, (int)size).Clear();
                }

                Copied(q + from, queryRow, length, dim, queries, wide);
                Copied(dy + from, queryRow, length, dim, given, wide);
                for (var block = 0; block < length; block += AttentionShape.Block)
                {
                    var (end, least) = (Math.Min(block + AttentionShape.Block, length), shape.FirstOf(block) & ~15);
                    var most = (end + 15) & ~15;
                    for (var first = block; first < end; first += Group)
                    {
                        var count = Math.Min(Group, end - first);
                        var (low, high) = (shape.FirstOf(first), first + count);
                        var (left, width) = (low & ~15, ((high + 15) & ~15) - (low & ~15));
                        float* score = scores + (long)(first - block) * columns, slope = slopes + (long)(first - block) * columns;
                        Products<T>.Multiply(queries + (long)first * wide, wide, 1, turnedKeys + left, columns, score + left, columns, count, width, dim, adds: false);
                        Products<T>.Multiply(given + (long)first * wide, wide, 1, turnedValues + left, columns, slope + left, columns, count, width, dim, adds: false);
                        for (var i = 0; i < count; i++, score += columns, slope += columns)
                        {
                            var (seen, past) = (shape.FirstOf(first + i), first + i + 1);
                            var at = norm + 2 * ((start + first + i) * shape.Heads + head);
                            ToSlopes(score + seen, slope + seen, past - seen, scale, at[0], at[1]);
                            Clear(score, least, seen);
                            Clear(score, past, most);
                            Clear(slope, least, seen);
                            Clear(slope, past, most);
                        }

                        slope = slopes + (long)(first - block) * columns;
                        Products<T>.Multiply(slope + low, columns, 1, keys + (long)low * wide, wide, sums, wide, count, wide, high - low, adds: false);
                        for (var i = 0; i < count; i++) new ReadOnlySpan<float>(sums + (long)i * wide, dim).CopyTo(new(toQuery + from + (first + i) * queryRow, dim));
                    }

                    for (var first = shape.FirstOf(block); first < end; first += Group)
                    {
                        var count = Math.Min(Group, end - first);
                        var top = Math.Max(block, first);
                        long offset = (long)(top - block) * columns + first, to = (long)first * wide;
                        Products<T>.Multiply(scores + offset, 1, columns, given + (long)top * wide, wide, atValues + to, wide, count, wide, end - top, adds: true);
                        Products<T>.Multiply(slopes + offset, 1, columns, queries + (long)top * wide, wide, atKeys + to, wide, count, wide, end - top, adds: true);
                    }
                }

                if (head % group != group - 1) continue;
                for (var i = 0; i < length; i++)
                {
                    new ReadOnlySpan<float>(atKeys + (long)i * wide, dim).CopyTo(new(toKey + place + i * keyRow, dim));
                    new ReadOnlySpan<float>(atValues + (long)i * wide, dim).CopyTo(new(toValue + place + i * keyRow, dim));
                }
            }
        }
    }

    // Scores become probabilities p; their gradients g become those at the products of queries and keys: scale p (g - sum(p g)).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToSlopes(float* scores, float* slopes, long count, float scale, float highest, float inverse)
    {
        const int Width = 16;
        T times = T.Of(scale), down = T.Of(-highest), share = T.Of(inverse);
        var i = 0L;
        for (; i <= count - Width; i += Width) T.Store(Rows<T>.Exponential(T.FusedMultiplyAdd(T.Load(scores + i), times, down)) * share, scores + i);
        if (i < count) Rows<T>.StorePart(Rows<T>.Exponential(T.FusedMultiplyAdd(Rows<T>.LoadPart(scores + i, count - i, 0), times, down)) * share, scores + i, count - i);
        var sum = Rows<T>.Dot(scores, slopes, count);
        var less = T.Of(sum);
        for (i = 0; i <= count - Width; i += Width) T.Store((T.Load(slopes + i) - less) * T.Load(scores + i) * times, slopes + i);
        for (; i < count; i++) slopes[i] = (slopes[i] - sum) * scores[i] * scale;
    }

    // [length, dim] of wider rows as [dim, length].
    private static void Turned(float* from, long row, int length, int dim, float* to, int columns)
    {
        for (var d = 0; d < dim; d++)
        {
            float* source = from + d, target = to + (long)d * columns;
            for (var i = 0; i < length; i++, source += row) target[i] = *source;
            Clear(target, length, columns);
        }
    }

    // [length, dim] of wider rows, padded with zeros.
    private static void Copied(float* from, long row, int length, int dim, float* to, int wide)
    {
        for (var i = 0; i < length; i++, from += row, to += wide)
        {
            new ReadOnlySpan<float>(from, dim).CopyTo(new(to, dim));
            Clear(to, dim, wide);
        }
    }

    private static void Clear(float* row, int first, int end)
    {
        if (end > first) new Span<float>(row + first, end - first).Clear();
    }
}

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
    private const long Cacheful = 1 << 17;

    /// <summary>Queries that share the scores in memory.</summary>
    public const int Block = 64;

    /// <summary>T in whole registers.</summary>
    public int PaddedLength => Up(Length);

    /// <summary>The width of an attention head in whole registers.</summary>
    public int PaddedDim => Up(HeadDim);

    /// <summary>Whether keys and values stay in the cache; where they do not, libtorch's blocks are the better ones.</summary>
    public bool FitsCache => (long)Length * HeadDim <= Cacheful;

    /// <summary>What can be done apart: the attention heads of a sequence that have their keys and values in common.</summary>
    public int Units => Sequences * KeyHeads;

    /// <summary>Query heads that a key head serves.</summary>
    public int HeadsPerKey => Heads / KeyHeads;

    /// <summary>Memory of a share beside the results, in elements.</summary>
    public long ShareElements => 7L * PaddedLength * PaddedDim + 2L * Block * PaddedLength + (long)Block * PaddedDim;

    /// <summary>Memory of all shares; anything may lie in it.</summary>
    public long ScratchElements => ShareElements * Shares.Count(Units, (long)Sequences * Length * Heads * HeadDim);

    /// <summary>To where a register begins.</summary>
    public static int Down(int place) => place / Width * Width;

    /// <summary>To where a register ends.</summary>
    public static int Up(int place) => Down(place + Width - 1);

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
        Tensor query, Tensor key, Tensor value, Tensor norms, Tensor gradient, AttentionShape shape, Tensor scratch,
        Tensor queryGradient, Tensor keyGradient, Tensor valueGradient);
}

/// <inheritdoc/>
internal sealed unsafe class HostAttention<T> : HostAttention
    where T : struct, ISixteen<T>
{
    private const int Group = Products<T>.Group;

    public override void Forward(Tensor query, Tensor key, Tensor value, AttentionShape shape, Tensor scratch, Tensor mixed, Tensor norms)
    {
        float* q = Memory.Of(query), k = Memory.Of(key), v = Memory.Of(value), room = Memory.Of(scratch);
        float* y = Memory.Of(mixed), norm = Memory.Of(norms);
        Shares.Do(shape.Units, query.numel(), (first, end, share) =>
        {
            for (var unit = (int)first; unit < end; unit++) Forward(q, k, v, shape, unit, room + share * shape.ShareElements, y, norm);
        });
    }

    public override void Backward(
        Tensor query, Tensor key, Tensor value, Tensor norms, Tensor gradient, AttentionShape shape, Tensor scratch,
        Tensor queryGradient, Tensor keyGradient, Tensor valueGradient)
    {
        float* q = Memory.Of(query), k = Memory.Of(key), v = Memory.Of(value), room = Memory.Of(scratch);
        float* norm = Memory.Of(norms), given = Memory.Of(gradient);
        float* toQuery = Memory.Of(queryGradient), toKey = Memory.Of(keyGradient), toValue = Memory.Of(valueGradient);
        Shares.Do(shape.Units, query.numel(), (first, end, share) =>
        {
            for (var unit = (int)first; unit < end; unit++)
                Backward(q, k, v, norm, given, shape, unit, room + share * shape.ShareElements, toQuery, toKey, toValue);
        });
    }

    // The attention heads of one sequence that have their keys and values in common.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Forward(
        float* query, float* key, float* value, AttentionShape shape, int unit, float* scratch, float* mixed, float* norms)
    {
        var (length, dim, wide, columns, heads) = (shape.Length, shape.HeadDim, shape.PaddedDim, shape.PaddedLength, shape.HeadsPerKey);
        long queryRow = (long)shape.Heads * dim, keyRow = (long)shape.KeyHeads * dim, size = (long)wide * columns;
        var (start, keyHead) = ((long)(unit / shape.KeyHeads) * length, unit % shape.KeyHeads);
        float* keys = scratch, values = keys + size, scores = values + size, sums = scores + (long)Group * columns;
        var scale = 1 / MathF.Sqrt(dim);
        Turned(key + start * keyRow + keyHead * dim, keyRow, length, dim, keys, columns);
        Copied(value + start * keyRow + keyHead * dim, keyRow, length, dim, values, wide);
        for (var head = keyHead * heads; head < (keyHead + 1) * heads; head++)
        {
            float* from = query + start * queryRow + head * dim, to = mixed + start * queryRow + head * dim;
            var norm = norms + 2 * (start * shape.Heads + head);
            for (var first = 0; first < length; first += Group)
            {
                var count = Math.Min(Group, length - first);
                var (low, high) = (shape.FirstOf(first), first + count);
                var (left, right) = (AttentionShape.Down(low), AttentionShape.Up(high));
                Products<T>.Multiply(
                    from + first * queryRow, queryRow, 1, keys + left, columns,
                    scores + left, columns, count, right - left, dim, adds: false);
                for (var i = 0; i < count; i++)
                {
                    var row = scores + (long)i * columns;
                    var (seen, past) = (shape.FirstOf(first + i), first + i + 1);
                    var highest = Rows<T>.Highest(row + seen, past - seen) * scale;
                    var inverse = 1 / Rows<T>.ToExponentials(row + seen, past - seen, scale, highest);
                    Clear(row, low, seen);
                    Clear(row, past, high);
                    var at = norm + 2L * (first + i) * shape.Heads;
                    (at[0], at[1]) = (highest, inverse);
                }

                Products<T>.Multiply(
                    scores + low, columns, 1, values + (long)low * wide, wide, sums, wide, count, wide, high - low, adds: false);
                for (var i = 0; i < count; i++)
                {
                    var inverse = norm[2L * (first + i) * shape.Heads + 1];
                    float* row = to + (first + i) * queryRow, sum = sums + (long)i * wide;
                    for (var d = 0; d < dim; d++) row[d] = sum[d] * inverse;
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward(
        float* query, float* key, float* value, float* norms, float* gradient, AttentionShape shape, int unit, float* scratch,
        float* toQuery, float* toKey, float* toValue)
    {
        var (length, dim, wide, columns, heads) = (shape.Length, shape.HeadDim, shape.PaddedDim, shape.PaddedLength, shape.HeadsPerKey);
        long queryRow = (long)shape.Heads * dim, keyRow = (long)shape.KeyHeads * dim, size = (long)wide * columns;
        var (start, keyHead) = ((long)(unit / shape.KeyHeads) * length, unit % shape.KeyHeads);
        float* turnedKeys = scratch, turnedValues = turnedKeys + size, keys = turnedValues + size, queries = keys + size;
        float* given = queries + size, atKeys = given + size, atValues = atKeys + size, scores = atValues + size;
        float* slopes = scores + (long)AttentionShape.Block * columns, sums = slopes + (long)AttentionShape.Block * columns;
        var (scale, place) = (1 / MathF.Sqrt(dim), start * keyRow + keyHead * dim);
        Turned(key + place, keyRow, length, dim, turnedKeys, columns);
        Turned(value + place, keyRow, length, dim, turnedValues, columns);
        Copied(key + place, keyRow, length, dim, keys, wide);
        new Span<float>(atKeys, (int)size).Clear();
        new Span<float>(atValues, (int)size).Clear();
        for (var head = keyHead * heads; head < (keyHead + 1) * heads; head++)
        {
            var from = start * queryRow + head * dim;
            Copied(query + from, queryRow, length, dim, queries, wide);
            Copied(gradient + from, queryRow, length, dim, given, wide);
            for (var block = 0; block < length; block += AttentionShape.Block)
            {
                var end = Math.Min(block + AttentionShape.Block, length);
                for (var first = block; first < end; first += Group)
                {
                    var count = Math.Min(Group, end - first);
                    var (low, high) = (shape.FirstOf(first), first + count);
                    var (left, right) = (AttentionShape.Down(low), AttentionShape.Up(high));
                    var (offset, width) = ((long)first * wide, right - left);
                    float* score = scores + (long)(first - block) * columns, slope = slopes + (long)(first - block) * columns;
                    Products<T>.Multiply(
                        queries + offset, wide, 1, turnedKeys + left, columns, score + left, columns, count, width, dim, adds: false);
                    Products<T>.Multiply(
                        given + offset, wide, 1, turnedValues + left, columns, slope + left, columns, count, width, dim, adds: false);
                    for (var i = 0; i < count; i++)
                    {
                        float* p = score + (long)i * columns, g = slope + (long)i * columns;
                        var norm = norms + 2 * ((start + first + i) * shape.Heads + head);
                        var (seen, past) = (shape.FirstOf(first + i), first + i + 1);
                        ToSlopes(p + seen, g + seen, past - seen, scale, norm[0], norm[1]);
                        Clear(p, shape.FirstOf(block), seen);
                        Clear(g, shape.FirstOf(block), seen);
                        Clear(p, past, end);
                        Clear(g, past, end);
                    }

                    Products<T>.Multiply(
                        slope + low, columns, 1, keys + (long)low * wide, wide, sums, wide, count, wide, high - low, adds: false);
                    for (var i = 0; i < count; i++) Copy(sums + (long)i * wide, toQuery + from + (first + i) * queryRow, dim);
                }

                // What the block's queries give back to the keys and values that they see.
                for (var first = shape.FirstOf(block); first < end; first += Group)
                {
                    var (count, top) = (Math.Min(Group, end - first), Math.Max(block, first));
                    long corner = (long)(top - block) * columns + first, to = (long)first * wide, by = (long)top * wide;
                    Products<T>.Multiply(
                        scores + corner, 1, columns, given + by, wide, atValues + to, wide, count, wide, end - top, adds: true);
                    Products<T>.Multiply(
                        slopes + corner, 1, columns, queries + by, wide, atKeys + to, wide, count, wide, end - top, adds: true);
                }
            }
        }

        for (var i = 0; i < length; i++)
        {
            Copy(atKeys + (long)i * wide, toKey + place + i * keyRow, dim);
            Copy(atValues + (long)i * wide, toValue + place + i * keyRow, dim);
        }
    }

    // Scores become probabilities p; their gradients g become those at the products of queries and keys: scale p (g - sum(p g)).
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToSlopes(float* scores, float* slopes, long count, float scale, float highest, float inverse)
    {
        const int Width = 16;
        T times = T.Of(scale), down = T.Of(-highest), share = T.Of(inverse);
        var i = 0L;
        for (; i <= count - Width; i += Width) T.Store(Probability(T.Load(scores + i)), scores + i);
        if (i < count) Rows<T>.StorePart(Probability(Rows<T>.LoadPart(scores + i, count - i, 0)), scores + i, count - i);
        var sum = Rows<T>.Dot(scores, slopes, count);
        var less = T.Of(sum);
        for (i = 0; i <= count - Width; i += Width) T.Store((T.Load(slopes + i) - less) * T.Load(scores + i) * times, slopes + i);
        for (; i < count; i++) slopes[i] = (slopes[i] - sum) * scores[i] * scale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        T Probability(T score) => Rows<T>.Exponential(T.FusedMultiplyAdd(score, times, down)) * share;
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
            Copy(from, to, dim);
            Clear(to, dim, wide);
        }
    }

    private static void Copy(float* from, float* to, int count) => new ReadOnlySpan<float>(from, count).CopyTo(new(to, count));

    private static void Clear(float* row, int first, int end)
    {
        if (end > first) new Span<float>(row + first, end - first).Clear();
    }
}

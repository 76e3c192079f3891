using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// Reduces each coordinate of the updates by itself, given its values in order: what medians and trimmed means have in common.
/// </summary>
internal static class SortedCoordinates
{
    private const int WidestBlock = 1024;
    private const int NarrowestBlock = 64;
    private const int CacheFloats = 1 << 16; // a quarter of a mebibyte: the rows of a block stay in the second cache

    /// <summary>Reduces a block: row k holds the k-th smallest value of each column.</summary>
    public delegate void Reduction(float[][] sorted, Span<float> result);

    /// <summary>
    /// The state whose blocks <paramref name="reduce"/> has written. Blocks are independent, so their order and threads change no bit.
    /// </summary>
    public static AdapterState Reduce(AdapterShapes shapes, IReadOnlyList<KeptUpdate> updates, Reduction reduce)
    {
        var network = new SortingNetwork(updates.Count);
        var block = Math.Clamp(CacheFloats / updates.Count, NarrowestBlock, WidestBlock);
        var arrays = new List<KeyValuePair<string, NamedArray>>(shapes.Count);
        foreach (var (name, shape) in shapes)
        {
            float[][] given = [.. updates.Select(kept => kept.Update[name].Data)];
            var result = GC.AllocateUninitializedArray<float>(given[0].Length);
            Parallel.For(0, (result.Length + block - 1) / block, () => new Rows(updates.Count, block), (number, _, rows) =>
            {
                var target = result.AsSpan(number * block, Math.Min(block, result.Length - (number * block)));
                for (var k = 0; k < given.Length; k++)
                    given[k].AsSpan(number * block, target.Length).CopyTo(rows.Sorted[k]);
                network.SortColumns(rows.Sorted, ref rows.Spare, target.Length);
                reduce(rows.Sorted, target);
                return rows;
            }, static _ => { });
            arrays.Add(KeyValuePair.Create(name, new NamedArray(shape, result)));
        }

        return new AdapterState(arrays);
    }

    private sealed class Rows(int count, int block)
    {
        public readonly float[][] Sorted = [.. Enumerable.Range(0, count).Select(_ => new float[block])];
        public float[] Spare = new float[block];
    }
}

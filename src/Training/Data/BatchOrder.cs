using FedRLora.Abstractions;

namespace FedRLora.Training.Data;

/// <summary>
/// Which rows a step takes: epochs, each in an order of its own, run on over the rounds. A round's batches follow from the client and
/// the round's number alone, whether or not the client took part before.
/// </summary>
internal sealed class BatchOrder(int rows, int batchSize, int stepsPerRound, ulong planSeed, string client)
{
    private long _epoch = -1;
    private int[] _order = [];

    /// <summary>Row numbers of a batch.</summary>
    /// <param name="round">From 1.</param>
    /// <param name="step">From 0.</param>
    public int[] Take(int round, int step)
    {
        var first = ((round - 1L) * stepsPerRound + step) * batchSize;
        return [.. Enumerable.Range(0, batchSize).Select(i => At(first + i))];
    }

    private int At(long position)
    {
        var epoch = position / rows;
        if (epoch != _epoch) (_epoch, _order) = (epoch, Permutation.Of(rows, Seed.For(planSeed, 0, client, $"order/epoch{epoch}")));
        return _order[position % rows];
    }
}

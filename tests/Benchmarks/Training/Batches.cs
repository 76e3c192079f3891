using FedRLora.Training.Data;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>Rows of random tokens.</summary>
internal static class Batches
{
    /// <summary>A batch for each client, all rows of one length; the end of each row carries loss.</summary>
    /// <param name="clients">Batches.</param>
    /// <param name="rows">Of a batch.</param>
    /// <param name="tokens">Of a row.</param>
    /// <param name="labelled">Share of a row's tokens with loss; its first token has none.</param>
    /// <param name="vocabulary">Token ids lie below it; that of the large model where none is given.</param>
    public static IReadOnlyList<EncodedRow[]> Even(int clients, int rows, int tokens, double labelled, int? vocabulary = null)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, clients)
            .Select(_ => Enumerable.Range(0, rows).Select(_ => Row(random, tokens, labelled, vocabulary)).ToArray())];
    }

    /// <summary>As <see cref="Even"/>, with every row's length drawn between two bounds.</summary>
    public static IReadOnlyList<EncodedRow[]> Ragged(int clients, int rows, int shortest, int longest, double labelled)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, clients)
            .Select(_ => Enumerable.Range(0, rows).Select(_ => Row(random, random.Next(shortest, longest + 1), labelled)).ToArray())];
    }

    /// <summary>A batch as the eager reference takes it: padded on the right, labels -100 where there is no loss.</summary>
    /// <returns>int64 <c>[Bsz, T]</c> each, in the caller's dispose scope.</returns>
    public static (Tensor Ids, Tensor Labels) Padded(EncodedRow[] batch, Device device)
    {
        var longest = batch.Max(static row => row.Ids.Length);
        var (ids, labels) = (new long[batch.Length, longest], new long[batch.Length, longest]);
        for (var i = 0; i < batch.Length; i++)
        {
            for (var place = 0; place < longest; place++) labels[i, place] = -100;
            for (var place = 0; place < batch[i].Ids.Length; place++) ids[i, place] = batch[i].Ids[place];
            foreach (var place in batch[i].LossPlaces) labels[i, place - 1] = batch[i].Ids[place];
        }

        return (tensor(ids, device: device), tensor(labels, device: device));
    }

    private static EncodedRow Row(Random random, int tokens, double labelled, int? vocabulary = null) =>
        new([.. Enumerable.Range(0, tokens).Select(_ => random.Next(vocabulary ?? BenchmarkModel.Config.VocabularySize))],
            Math.Max(1, tokens - (int)(tokens * labelled)));
}

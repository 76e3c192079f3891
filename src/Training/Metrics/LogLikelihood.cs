using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Metrics;

/// <summary>A sequence to run and the tokens to score in it.</summary>
/// <param name="Ids">What goes through the model.</param>
/// <param name="Tokens">Each: the place whose next token is scored, that token, and the sum it goes to.</param>
internal sealed record ScoredSequence(int[] Ids, IReadOnlyList<(int Place, int Token, int Slot)> Tokens);

/// <summary>Summed log-likelihoods, in batches of sequences of like length.</summary>
internal static class LogLikelihood
{
    private const int TokensPerBatch = 4096;
    private const long LogitsPerPiece = 1 << 24;

    /// <summary>The sum of each slot.</summary>
    public static double[] Sums(CausalLanguageModel model, ILayerAdapters? adapters, IEnumerable<ScoredSequence> sequences, int slots, CancellationToken cancellationToken)
    {
        using var inference = no_grad();
        var sums = new double[slots];
        var batch = new List<ScoredSequence>();
        foreach (var sequence in sequences.OrderBy(static sequence => sequence.Ids.Length))
        {
            if (batch.Count > 0 && (batch.Count + 1) * sequence.Ids.Length > TokensPerBatch) Flush();
            batch.Add(sequence);
        }

        if (batch.Count > 0) Flush();
        return sums;

        void Flush()
        {
            cancellationToken.ThrowIfCancellationRequested();
            Add(model, adapters, batch, sums);
            batch.Clear();
        }
    }

    private static void Add(CausalLanguageModel model, ILayerAdapters? adapters, List<ScoredSequence> batch, double[] sums)
    {
        using var scope = NewDisposeScope();
        var length = batch.Max(static sequence => sequence.Ids.Length);
        var ids = new long[batch.Count * length];
        for (var i = 0; i < batch.Count; i++)
            for (var j = 0; j < batch[i].Ids.Length; j++) ids[i * length + j] = batch[i].Ids[j];

        var hidden = model.Hidden(tensor(ids, [batch.Count, length], ScalarType.Int64, model.Device), null, adapters);
        var flat = hidden.reshape(-1, hidden.shape[^1]);
        var wanted = batch.SelectMany((sequence, i) => sequence.Tokens.Select(token => (Row: (long)i * length + token.Place, token.Token, token.Slot)));
        foreach (var piece in wanted.GroupBy(static token => token.Row).Chunk((int)Math.Max(1, LogitsPerPiece / model.Config.VocabularySize)))
            AddPiece(model, adapters, flat, piece, sums);
    }

    private static void AddPiece(CausalLanguageModel model, ILayerAdapters? adapters, Tensor hidden, IGrouping<long, (long Row, int Token, int Slot)>[] rows, double[] sums)
    {
        using var scope = NewDisposeScope();
        var taken = hidden.index_select(0, tensor(rows.Select(static row => row.Key).ToArray(), ScalarType.Int64, hidden.device));
        var likelihoods = model.LogitsOf(taken, adapters).to(ScalarType.Float32).log_softmax(-1);
        var places = rows.SelectMany((row, i) => row.Select(token => i * likelihoods.shape[1] + token.Token)).ToArray();
        var values = likelihoods.reshape(-1).index_select(0, tensor(places, ScalarType.Int64, hidden.device)).cpu().data<float>().ToArray();
        foreach (var (value, slot) in values.Zip(rows.SelectMany(static row => row.Select(static token => token.Slot)))) sums[slot] += value;
    }
}

using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Metrics;

/// <summary>A sequence to run and the tokens to score in it.</summary>
/// <param name="Ids">What goes through the model.</param>
/// <param name="Tokens">Each: the place whose next token is scored, that token, and the sum it goes to.</param>
internal sealed record ScoredSequence(int[] Ids, IReadOnlyList<(int Place, int Token, int Slot)> Tokens);

/// <summary>A prompt and what goes through the model behind it, each tail for itself.</summary>
/// <param name="Prompt">Its tokens; may be none.</param>
/// <param name="Tails">Ids of the tail alone, which may be empty; places are counted from the prompt's first token.</param>
internal sealed record ScoredPrompt(int[] Prompt, IReadOnlyList<ScoredSequence> Tails)
{
    /// <summary>Tokens that go through the model.</summary>
    public int Tokens => Prompt.Length + Tails.Sum(static tail => tail.Ids.Length);

    /// <summary>Tokens of the prompt with its longest tail.</summary>
    public int Longest => Prompt.Length + Tails.Max(static tail => tail.Ids.Length);
}

/// <summary>Summed log-likelihoods, in batches of sequences of like length.</summary>
internal static class LogLikelihood
{
    private const int TokensPerBatch = 4096;
    private const long LogitsPerPiece = 1 << 24;

    /// <summary>The sum of each slot.</summary>
    public static double[] Sums(
        CausalLanguageModel model, ILayerAdapters? adapters, IEnumerable<ScoredSequence> sequences, int slots,
        CancellationToken cancellationToken, Action<double>? progress = null)
    {
        using var inference = no_grad();
        var sums = new double[slots];
        var batch = new List<ScoredSequence>();
        var ordered = sequences.OrderBy(static sequence => sequence.Ids.Length).ToList();
        var (done, all) = (0L, ordered.Sum(static sequence => (long)sequence.Ids.Length));
        foreach (var sequence in ordered)
        {
            // Padding would be seen, and what one of a batch gets would depend on the others.
            var isAlone = adapters?.SeesSequences == true;
            if (batch.Count > 0 && (isAlone || (batch.Count + 1) * sequence.Ids.Length > TokensPerBatch)) Flush();
            batch.Add(sequence);
        }

        if (batch.Count > 0) Flush();
        return sums;

        void Flush()
        {
            cancellationToken.ThrowIfCancellationRequested();
            Add(model, adapters, batch, sums);
            done += batch.Sum(static sequence => (long)sequence.Ids.Length);
            progress?.Invoke((double)done / all);
            batch.Clear();
        }
    }

    /// <summary>
    /// The same where texts share a prompt, which goes through the model once, so that no adapter may see sequences. What a prompt's slots
    /// get depends on it and its tails, not on the others.
    /// </summary>
    public static double[] Sums(
        CausalLanguageModel model, ILayerAdapters? adapters, IEnumerable<ScoredPrompt> prompts, int slots,
        CancellationToken cancellationToken, Action<double>? progress = null)
    {
        using var inference = no_grad();
        var sums = new double[slots];
        var scored = prompts.Where(static prompt => prompt.Tails.Any(static tail => tail.Tokens.Count > 0)).ToList();
        var (done, all) = (0L, scored.SelectMany(Cut).Sum(static prompt => (long)prompt.Tokens));
        foreach (var alike in scored.GroupBy(static prompt => SharedPrompts.KeyLengthOf(prompt.Longest)).OrderBy(static group => group.Key))
        {
            foreach (var batch in Filled(alike.SelectMany(Cut), static prompt => prompt.Tokens, TokensPerBatch))
            {
                cancellationToken.ThrowIfCancellationRequested();
                Add(model, adapters, batch, alike.Key, sums);
                done += batch.Sum(static prompt => (long)prompt.Tokens);
                progress?.Invoke((double)done / all);
            }
        }

        return sums;
    }

    // Tails that fill more than a batch take their prompt along to the next.
    private static IEnumerable<ScoredPrompt> Cut(ScoredPrompt prompt) =>
        Filled(prompt.Tails, static tail => tail.Ids.Length, TokensPerBatch - prompt.Prompt.Length)
            .Select(tails => prompt with { Tails = tails });

    private static IEnumerable<List<T>> Filled<T>(IEnumerable<T> items, Func<T, int> tokens, int limit)
    {
        var (filled, sum) = (new List<T>(), 0);
        foreach (var item in items)
        {
            if (filled.Count > 0 && sum + tokens(item) > limit)
            {
                yield return filled;
                (filled, sum) = ([], 0);
            }

            filled.Add(item);
            sum += tokens(item);
        }

        if (filled.Count > 0) yield return filled;
    }

    private static void Add(CausalLanguageModel model, ILayerAdapters? adapters, List<ScoredPrompt> batch, int keyLength, double[] sums)
    {
        using var scope = NewDisposeScope();
        var prompts = SharedPrompts.Of(
            [.. batch.Select(static prompt => new SharedPrompt(prompt.Prompt, [.. prompt.Tails.Select(static tail => tail.Ids)]))],
            keyLength, model.Config.SlidingWindow, model.Device);
        var wanted = batch.Zip(prompts.Texts).SelectMany(static both => both.First.Tails.Zip(both.Second).SelectMany(static tail =>
            tail.First.Tokens.Select(token => ((long)tail.Second[token.Place], token.Token, token.Slot))));
        Add(model, adapters, model.Hidden(prompts, adapters), wanted, SharedPrompts.RowBlock, sums);
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
        var wanted = batch.SelectMany(
            (sequence, i) => sequence.Tokens.Select(token => (Row: (long)i * length + token.Place, token.Token, token.Slot)));
        Add(model, adapters, flat, wanted, 1, sums);
    }

    /// <param name="model">Whose LM head.</param>
    /// <param name="adapters">Adds to it.</param>
    /// <param name="hidden"><c>[M, D]</c>.</param>
    /// <param name="wanted">A row, the token that it is to predict, and the sum that it goes to.</param>
    /// <param name="block">Rows go through the LM head in multiples of it.</param>
    /// <param name="sums">Take the log-likelihoods.</param>
    private static void Add(
        CausalLanguageModel model, ILayerAdapters? adapters, Tensor hidden, IEnumerable<(long Row, int Token, int Slot)> wanted, int block,
        double[] sums)
    {
        var most = SharedPrompts.Blocked((int)Math.Max(1, LogitsPerPiece / model.Config.VocabularySize - block + 1), block);
        foreach (var piece in wanted.GroupBy(static token => token.Row).Chunk(most)) AddPiece(model, adapters, hidden, piece, block, sums);
    }

    private static void AddPiece(
        CausalLanguageModel model, ILayerAdapters? adapters, Tensor hidden,
        IGrouping<long, (long Row, int Token, int Slot)>[] rows, int block,
        double[] sums)
    {
        using var scope = NewDisposeScope();
        var (keys, padding) = (rows.Select(static row => row.Key), SharedPrompts.Blocked(rows.Length, block) - rows.Length);
        var taken = hidden.index_select(
            0, tensor(keys.Concat(Enumerable.Repeat(rows[0].Key, padding)).ToArray(), ScalarType.Int64, hidden.device));
        var likelihoods = model.LogitsOf(taken, adapters).to(ScalarType.Float32).log_softmax(-1);
        var places = rows.SelectMany((row, i) => row.Select(token => i * likelihoods.shape[1] + token.Token)).ToArray();
        var values = likelihoods.reshape(-1).index_select(0, tensor(places, ScalarType.Int64, hidden.device)).cpu().data<float>().ToArray();
        foreach (var (value, slot) in values.Zip(rows.SelectMany(static row => row.Select(static token => token.Slot))))
            sums[slot] += value;
    }
}

using FedRLora.Abstractions;
using FedRLora.Training.Data;

namespace FedRLora.Training.Metrics;

/// <summary>
/// Share of rows whose own label has the highest summed completion log-likelihood of all labels; the first in ordinal order wins a
/// tie. A label that only goes on where another ends is read from the other's run, so labels of one token cost one run together.
/// </summary>
internal sealed class Accuracy : IMetric
{
    private const int RowsPerPiece = 128;

    public string Name => "accuracy";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var (labels, test) = (rows.Test.Candidates, rows.Test.Examples);
        if (labels.Count == 0 || !rows.Test.AreLabelled) throw new BadInputException("accuracy: the test rows carry no labels; use perplexity or exactMatch");
        if (labels.Count > MetricRegistry.MaxLabels)
            throw new BadInputException($"accuracy: {labels.Count} distinct completions, at most {MetricRegistry.MaxLabels} are scored as labels; use perplexity or exactMatch");

        var indexOf = labels.Select(static (label, index) => (label, index)).ToDictionary(static pair => pair.label, static pair => pair.index, StringComparer.Ordinal);
        var (right, tokens, loss) = (0, 0L, 0.0);
        foreach (var piece in test.Chunk(RowsPerPiece))
        {
            var candidates = piece.Select(example => rows.Encoder.Encode(example, labels, indexOf[example.Completion])).ToList();
            var sequences = candidates.SelectMany((row, i) => Sequences(row, i * labels.Count));
            var sums = LogLikelihood.Sums(rows.Base.Model, rows.Adapters, sequences, piece.Length * labels.Count, cancellationToken);
            for (var i = 0; i < piece.Length; i++)
            {
                var scores = sums.AsSpan(i * labels.Count, labels.Count);
                var own = candidates[i].Own;
                foreach (var score in scores)
                {
                    // A comparison with NaN is false: a label would lose without having been scored.
                    if (double.IsFinite(score)) continue;
                    throw new BadInputException($"accuracy: a label's log-likelihood is {score}: "
                        + "the model, with its adapter, computes values that are no numbers");
                }

                if (FirstHighest(scores) == own) right++;
                loss -= scores[own];
                tokens += candidates[i].Tails[own].Length - candidates[i].LossFrom[own];
            }
        }

        return new((double)right / test.Count, loss / tokens);
    }

    private static int FirstHighest(ReadOnlySpan<double> scores)
    {
        var best = 0;
        for (var i = 1; i < scores.Length; i++)
            if (scores[i] > scores[best]) best = i;
        return best;
    }

    // One sequence for each tail, without its last token, that no longer one begins with.
    private static IEnumerable<ScoredSequence> Sequences(CandidateRow row, int firstSlot)
    {
        var runs = new List<(int[] Tail, List<int> Candidates)>();
        foreach (var candidate in Enumerable.Range(0, row.Tails.Length).OrderByDescending(candidate => row.Tails[candidate].Length))
        {
            var inner = row.Tails[candidate].AsSpan(0, Math.Max(0, row.Tails[candidate].Length - 1));
            var found = -1;
            for (var i = 0; i < runs.Count && found < 0; i++)
                if (runs[i].Tail.AsSpan().StartsWith(inner)) found = i;
            if (found < 0) runs.Add((inner.ToArray(), [candidate]));
            else runs[found].Candidates.Add(candidate);
        }

        return runs.Select(run => new ScoredSequence([.. row.Prefix, .. run.Tail], [.. run.Candidates.SelectMany(candidate => Tokens(row, candidate, firstSlot + candidate))]));
    }

    // Nothing predicts the first token of a text.
    private static IEnumerable<(int, int, int)> Tokens(CandidateRow row, int candidate, int slot) => Enumerable
        .Range(row.LossFrom[candidate], Math.Max(0, row.Tails[candidate].Length - row.LossFrom[candidate]))
        .Where(place => row.Prefix.Length + place > 0)
        .Select(place => (row.Prefix.Length + place - 1, row.Tails[candidate][place], slot));
}

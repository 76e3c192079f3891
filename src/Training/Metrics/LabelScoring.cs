using FedRLora.Abstractions;
using FedRLora.Training.Data;

namespace FedRLora.Training.Metrics;

/// <summary>
/// What was answered: for each row its own label and the label that the model chose, and the loss of the row's own completion.
/// </summary>
internal sealed record Answered(IReadOnlyList<int> Own, IReadOnlyList<int> Chosen, double Loss);

/// <summary>
/// Chooses for each row the label of the answer with the highest summed completion log-likelihood; the first in ordinal order wins a tie
/// of numbers. Answers of different labels that are the same tokens, or of which one begins another, cannot be told apart and are
/// refused. A row's prompt goes through the model once for all its answers, and an answer that only goes on where another ends is read
/// from the other's run, so answers of one token cost nothing beyond the prompt. Where an adapter sees sequences, each answer goes through
/// the model with its prompt, for itself.
/// </summary>
internal static class LabelScoring
{
    private const int RowsPerPiece = 128;

    /// <summary>Runs on the lane, within a dispose scope of the caller.</summary>
    /// <exception cref="BadInputException">The rows have no labels, too many, or labels that cannot be told apart.</exception>
    public static Answered Answer(ScoredRows rows, string metric, CancellationToken cancellationToken)
    {
        var (labels, test) = (rows.Test.Labels, rows.Test.Examples);
        Require(rows.Test, metric);
        var (own, chosen) = (new List<int>(test.Count), new List<int>(test.Count));
        var (tokens, loss) = (0L, 0.0);
        foreach (var piece in test.Chunk(RowsPerPiece))
        {
            var before = own.Count;
            Action<double>? progress = rows.Progress is { } reached ? share => reached((before + share * piece.Length) / test.Count) : null;
            var candidates = piece
                .Select(example => rows.Encoder.Encode(example, labels.Answers, AnswerOf(example, rows.Test, metric))).ToList();
            foreach (var row in candidates) RequireTold(row, labels, metric);
            var slots = piece.Length * labels.Answers.Count;
            var sums = rows.Adapters?.SeesSequences == true
                ? LogLikelihood.Sums(rows.Base.Model, rows.Adapters,
                    candidates.SelectMany((row, i) => Whole(row, i * labels.Answers.Count)), slots, cancellationToken, progress)
                : LogLikelihood.Sums(rows.Base.Model, rows.Adapters,
                    candidates.Select((row, i) => Scored(row, i * labels.Answers.Count)), slots, cancellationToken, progress);
            for (var i = 0; i < piece.Length; i++)
            {
                var scores = sums.AsSpan(i * labels.Answers.Count, labels.Answers.Count);
                foreach (var score in scores)
                {
                    // A comparison with NaN is false: a label would lose without having been scored.
                    if (double.IsFinite(score)) continue;
                    throw new BadInputException($"{metric}: a label's log-likelihood is {score}: "
                        + "the model, with its adapter, computes values that are no numbers");
                }

                own.Add(labels.LabelOf[candidates[i].Own]);
                chosen.Add(labels.LabelOf[FirstHighest(scores)]);
                loss -= scores[candidates[i].Own];
                tokens += candidates[i].Tails[candidates[i].Own].Length - candidates[i].LossFrom[candidates[i].Own];
            }
        }

        return new(own, chosen, loss / tokens);
    }

    private static void Require(TestRows test, string metric)
    {
        const string Else = "use perplexity or exactMatch";
        var (labels, unlabelled) = (test.Labels, test.Unlabelled);
        if (unlabelled == test.Examples.Count) throw new BadInputException($"{metric}: the test rows carry no labels; {Else}");
        if (unlabelled > 0)
        {
            throw new BadInputException($"{metric}: {unlabelled} of {test.Examples.Count} test rows have no label; "
                + $"give each one, or {Else}");
        }

        if (labels.Ambiguous is { } both)
        {
            throw new BadInputException($"{metric}: the answer {Quoted(both.Answer)} stands for the labels "
                + $"{Quoted(both.First)} and {Quoted(both.Second)}; give each label answers of its own, or {Else}");
        }

        if (labels.Answers.Count > MetricRegistry.MaxLabels)
        {
            throw new BadInputException($"{metric}: {labels.Answers.Count} distinct answers, "
                + $"at most {MetricRegistry.MaxLabels} are scored one by one; {Else}");
        }

        if (labels.Names.Count == 1)
        {
            throw new BadInputException($"{metric}: {Quoted(labels.Names[0])} is the only label of the task, "
                + $"so there is nothing to choose; name all labels in the plan (tasks), or {Else}");
        }
    }

    private static int AnswerOf(Example example, TestRows test, string metric)
    {
        var labels = test.Labels;
        if (labels.PlaceOf(example.Label!) is not { } label)
        {
            throw new BadInputException($"{metric}: line {example.Line}: {Quoted(example.Label!)} is none of the task's labels: "
                + $"{Shown(labels.Names)}");
        }

        if (labels.AnswerOf(example.Completion) is not { } answer || labels.LabelOf[answer] != label)
        {
            throw new BadInputException($"{metric}: line {example.Line}: the completion {Quoted(example.Completion)} "
                + $"is no answer of the label {Quoted(example.Label!)}; add it to the task's answers in the plan");
        }

        return answer;
    }

    // Texts of a file: one line and short.
    private static string Quoted(string text) => $"\"{BadInputException.Shown(text)}\"";

    private static string Shown(IReadOnlyList<string> names) =>
        string.Join(", ", names.Take(10).Select(Quoted)) + (names.Count > 10 ? ", ..." : "");

    // In the order of tokens, whatever begins with an answer follows it at once.
    private static void RequireTold(CandidateRow row, TaskLabels labels, string metric)
    {
        var order = Enumerable.Range(0, row.Tails.Length).ToArray();
        Array.Sort(order, (a, b) => row.Tails[a].AsSpan().SequenceCompareTo(row.Tails[b]));
        for (var i = 0; i < order.Length; i++)
        {
            for (var j = i + 1; j < order.Length && row.Tails[order[j]].AsSpan().StartsWith(row.Tails[order[i]]); j++)
            {
                var (first, second) = (order[i], order[j]);
                if (labels.LabelOf[first] == labels.LabelOf[second]) continue;
                var (shorter, longer) = (Quoted(labels.Answers[first]), Quoted(labels.Answers[second]));
                if (row.TokensNeeded is { } needed)
                {
                    throw new BadInputException($"{metric}: the labels {shorter} and {longer} begin alike and are cut to the same tokens; "
                        + $"give maxTokens: {needed} or more");
                }

                throw new BadInputException(row.Tails[first].Length == row.Tails[second].Length
                    ? $"{metric}: the tokenizer writes the labels {shorter} and {longer} with the same tokens; give them other words"
                    : $"{metric}: the model has no end token and the label {shorter} begins {longer}, so the first "
                        + "always wins; give other labels, name an end token in tokenizer_config.json, or use exactMatch");
            }
        }
    }

    private static int FirstHighest(ReadOnlySpan<double> scores)
    {
        var best = 0;
        for (var i = 1; i < scores.Length; i++)
            if (scores[i] > scores[best]) best = i;
        return best;
    }

    // One run for each tail, without its last token, that no longer one begins with.
    private static ScoredPrompt Scored(CandidateRow row, int firstSlot)
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

        return new(row.Prefix, [.. runs.Select(run => new ScoredSequence(
            run.Tail, [.. run.Candidates.SelectMany(candidate => Tokens(row, candidate, firstSlot + candidate))]))]);
    }

    // Each text as training has it, its last token included.
    private static IEnumerable<ScoredSequence> Whole(CandidateRow row, int firstSlot) => Enumerable.Range(0, row.Tails.Length)
        .Select(candidate => new ScoredSequence(
            [.. row.Prefix, .. row.Tails[candidate]], [.. Tokens(row, candidate, firstSlot + candidate)]))
        .Where(static text => text.Tokens.Count > 0);

    // Nothing predicts the first token of a text.
    private static IEnumerable<(int, int, int)> Tokens(CandidateRow row, int candidate, int slot) => Enumerable
        .Range(row.LossFrom[candidate], Math.Max(0, row.Tails[candidate].Length - row.LossFrom[candidate]))
        .Where(place => row.Prefix.Length + place > 0)
        .Select(place => (row.Prefix.Length + place - 1, row.Tails[candidate][place], slot));
}

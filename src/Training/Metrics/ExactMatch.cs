using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Data;
using FedRLora.Training.Models;

namespace FedRLora.Training.Metrics;

/// <summary>
/// Share of rows whose greedy continuation is the completion, spaces at the ends aside. Without a bound of the plan a continuation may
/// be as long as the longest completion of all rows that are scored.
/// </summary>
internal sealed class ExactMatch : IMetric
{
    private const int LeastBound = 16;

    public string Name => "exactMatch";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var answers = rows.Test.Examples.Zip(rows.Test.Rows, (example, row) => AnswerOf(rows, example, row)).ToList();
        var bound = rows.Spec.MaxNewTokens ?? Math.Max(LeastBound, answers.Max(static answer => answer.Tokens));
        var tooLong = answers
            .Where(answer => answer.Tokens > Math.Min(bound, rows.Base.Model.Config.MaxPositions - answer.Prompt.Length)).ToList();
        var matches = answers.Select((answer, done) =>
        {
            var isMatch = IsContinued(rows, answer, bound, cancellationToken);
            rows.Progress?.Invoke((done + 1.0) / answers.Count);
            return isMatch;
        }).ToList();
        return new(
            (double)matches.Count(static match => match) / answers.Count,
            Perplexity.Mean(Perplexity.Losses(rows with { Progress = _ => rows.Between?.Invoke() }, cancellationToken)))
        {
            Constant = (double)answers.GroupBy(static answer => answer.Text, StringComparer.Ordinal).Max(static group => group.Count())
                / answers.Count,
            Rows = [.. matches.Select(static match => new RowScore(match ? 1 : 0, 1))],
            Note = tooLong.Count == 0 ? null : new()
            {
                Kind = DataNoteKind.AnswerTooLong, Count = tooLong.Count, Of = answers.Count,
                Longest = tooLong.Max(static answer => answer.Tokens),
            },
        };
    }

    /// <param name="Prompt">What is continued.</param>
    /// <param name="Text">The continuation that is right.</param>
    /// <param name="Tokens">How many tokens it takes, as the tokenizer writes it.</param>
    /// <param name="Ends">What ends it.</param>
    private sealed record Answer(int[] Prompt, string Text, int Tokens, IReadOnlySet<int> Ends);

    // What a template makes of a message is compared as the tokens say it; a turn ends with the token that the template ends it with.
    private static Answer AnswerOf(ScoredRows rows, Example example, EncodedRow row)
    {
        var tokenizer = rows.Base.Tokenizer;
        var prompt = row.Ids[..row.Start];
        int[] turn = [.. row.Ids.AsSpan(row.Start, row.Spans[^1].To - row.Start), .. row.AnswerLost];
        if (example.Chat is null)
            return new(prompt, example.Completion.Trim(), TokensOf(turn, rows.Base.EndIds.Contains(turn[^1])), rows.Base.EndIds);
        var isEnd = tokenizer.Decode([turn[^1]], skipSpecialTokens: true).Length == 0;
        IReadOnlySet<int> ends = isEnd ? new HashSet<int> { turn[^1] } : rows.Base.EndIds;
        return new(prompt, tokenizer.Decode(turn, skipSpecialTokens: true).Trim(), TokensOf(turn, isEnd), ends);
    }

    private static int TokensOf(int[] turn, bool ends) => ends ? turn.Length - 1 : turn.Length;

    // A text that is longer already does not become equal.
    private static bool IsContinued(ScoredRows rows, Answer answer, int bound, CancellationToken cancellationToken)
    {
        var options = new SamplingOptions { MaxNewTokens = bound, EndIds = answer.Ends };
        var ids = new List<int>();
        foreach (var id in Generation.Tokens(rows.Base.Model, rows.Adapters, answer.Prompt, options, cancellationToken))
        {
            ids.Add(id);
            rows.Between?.Invoke();
            if (ids.Count > answer.Tokens && Text().Length > answer.Text.Length) return false;
        }

        return Text() == answer.Text;

        string Text() => rows.Base.Tokenizer.Decode([.. ids], skipSpecialTokens: true).Trim();
    }
}

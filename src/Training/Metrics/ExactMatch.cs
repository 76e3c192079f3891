using FedRLora.Training.Data;
using FedRLora.Training.Models;

namespace FedRLora.Training.Metrics;

/// <summary>Share of rows whose greedy continuation is the completion, spaces at the ends aside.</summary>
internal sealed class ExactMatch : IMetric
{
    public string Name => "exactMatch";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var matches = rows.Test.Examples.Zip(rows.Test.Rows).Count(pair => IsMatch(rows, pair.First, pair.Second, cancellationToken));
        return new((double)matches / rows.Test.Rows.Count, Perplexity.Loss(rows, cancellationToken));
    }

    // What a template makes of a message is compared as the tokens say it; a turn ends with the token that the template ends it with.
    private static bool IsMatch(ScoredRows rows, Example example, EncodedRow row, CancellationToken cancellationToken)
    {
        var tokenizer = rows.Base.Tokenizer;
        var prompt = row.Ids[..row.Start];
        if (example.Chat is null) return Continue(rows, prompt, tokenizer.EndId, cancellationToken) == example.Completion.Trim();
        var turn = row.Ids[row.Start..row.Spans[^1].To];
        var end = tokenizer.Decode([turn[^1]], skipSpecialTokens: true).Length == 0 ? turn[^1] : tokenizer.EndId;
        return Continue(rows, prompt, end, cancellationToken) == tokenizer.Decode(turn, skipSpecialTokens: true).Trim();
    }

    private static string Continue(ScoredRows rows, int[] prompt, int? endId, CancellationToken cancellationToken)
    {
        var tokenizer = rows.Base.Tokenizer;
        var ids = Generation.Greedy(rows.Base.Model, rows.Adapters, prompt, rows.Spec.MaxNewTokens, endId, cancellationToken);
        return tokenizer.Decode(ids, skipSpecialTokens: true).Trim();
    }
}

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
        if (example.Chat is null) return Continue(rows, prompt, rows.Base.EndIds, cancellationToken) == example.Completion.Trim();
        var turn = row.Ids[row.Start..row.Spans[^1].To];
        IReadOnlySet<int> ends = tokenizer.Decode([turn[^1]], skipSpecialTokens: true).Length == 0 ? new HashSet<int> { turn[^1] } : rows.Base.EndIds;
        return Continue(rows, prompt, ends, cancellationToken) == tokenizer.Decode(turn, skipSpecialTokens: true).Trim();
    }

    private static string Continue(ScoredRows rows, int[] prompt, IReadOnlySet<int> ends, CancellationToken cancellationToken)
    {
        var options = new SamplingOptions { MaxNewTokens = rows.Spec.MaxNewTokens, EndIds = ends };
        return rows.Base.Tokenizer.Decode([.. Generation.Tokens(rows.Base.Model, rows.Adapters, prompt, options, cancellationToken)], skipSpecialTokens: true).Trim();
    }
}

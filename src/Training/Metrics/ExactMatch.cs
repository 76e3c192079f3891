using FedRLora.Training.Models;

namespace FedRLora.Training.Metrics;

/// <summary>Share of rows whose greedy continuation is the completion, spaces at the ends aside.</summary>
internal sealed class ExactMatch : IMetric
{
    public string Name => "exactMatch";

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var matches = rows.Test.Examples.Zip(rows.Test.Rows).Count(pair => Continue(rows, pair.Second.Ids[..pair.Second.Start], cancellationToken) == pair.First.Completion.Trim());
        return new((double)matches / rows.Test.Rows.Count, Perplexity.Loss(rows, cancellationToken));
    }

    private static string Continue(ScoredRows rows, int[] prompt, CancellationToken cancellationToken)
    {
        var tokenizer = rows.Base.Tokenizer;
        var options = new SamplingOptions { MaxNewTokens = rows.Spec.MaxNewTokens, EndIds = rows.Base.EndIds };
        return tokenizer.Decode([.. Generation.Tokens(rows.Base.Model, rows.Adapters, prompt, options, cancellationToken)], skipSpecialTokens: true).Trim();
    }
}

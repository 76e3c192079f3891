namespace FedRLora.Abstractions.Plans;

/// <summary>Scoring of the candidate state with the head each client owns.</summary>
public sealed record EvaluationSpec
{
    /// <summary>Rounds between scorings; the last round is always scored.</summary>
    public int EveryRounds { get; init; } = 1;

    /// <summary>The metric.</summary>
    public Metric Metric { get; init; } = Metric.Auto;

    /// <summary>Test rows scored, drawn over the whole file, the same in every round and run; null scores all.</summary>
    public int? MaxRows { get; init; }

    /// <summary>
    /// Tokens of a greedy continuation under <see cref="Metric.ExactMatch"/>; null as many as the longest completion needs.
    /// </summary>
    public int? MaxNewTokens { get; init; }

    /// <summary>Also runs the same clients with the same budget and nothing shared, for the final table.</summary>
    public bool LocalOnly { get; init; }
}

/// <summary>How a client is scored.</summary>
public enum Metric
{
    /// <summary>Accuracy where rows carry labels, else perplexity.</summary>
    Auto,

    /// <summary>Share of rows whose own label has, of all labels, the answer of the highest completion log-likelihood.</summary>
    Accuracy,

    /// <summary>The mean over the labels of the harmonic mean of precision and recall, chosen as under <see cref="Accuracy"/>.</summary>
    MacroF1,

    /// <summary>
    /// Matthews correlation over all labels (Gorodkin 2004), chosen as under <see cref="Accuracy"/>; from -1 to 1, 0 for chance.
    /// </summary>
    Matthews,

    /// <summary>Share of rows whose greedy continuation equals the completion.</summary>
    ExactMatch,

    /// <summary>exp of the mean completion loss per token.</summary>
    Perplexity,
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Data;
using FedRLora.Training.Models;

namespace FedRLora.Training.Metrics;

/// <summary>What is scored, and with what.</summary>
internal sealed record ScoredRows(FrozenBase Base, ILayerAdapters? Adapters, RowEncoder Encoder, TestRows Test, EvaluationSpec Spec)
{
    /// <summary>Gets the share of the rows that is done, after each batch or row; null for nobody.</summary>
    public Action<double>? Progress { get; init; }

    /// <summary>Called where other work may come in between and no share can be told; null for nobody.</summary>
    public Action? Between { get; init; }
}

/// <summary>A score and the completion loss per token of the same rows.</summary>
internal sealed record MetricScore(double Score, double Loss)
{
    /// <summary>What the best constant answer scores; null where a constant answer cannot be scored so.</summary>
    public double? Constant { get; init; }

    /// <summary>Each row by itself.</summary>
    public required IReadOnlyList<RowScore> Rows { get; init; }

    /// <summary>The label that makes up 95 % of the answers or more; null where there is none.</summary>
    public string? Always { get; init; }

    /// <summary>What else has to be known of the rows.</summary>
    public DataNote? Note { get; init; }
}

/// <summary>An evaluation metric.</summary>
internal interface IMetric
{
    /// <summary>As in <see cref="Abstractions.Ports.EvaluationResult.Metric"/>.</summary>
    string Name { get; }

    /// <summary>Runs on the lane, within a dispose scope of the caller.</summary>
    /// <exception cref="Abstractions.BadInputException">The rows cannot be scored by this metric.</exception>
    MetricScore Score(ScoredRows rows, CancellationToken cancellationToken);
}

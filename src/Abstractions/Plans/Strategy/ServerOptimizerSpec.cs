namespace FedRLora.Abstractions.Plans;

/// <summary>The coordinator's step on the aggregate update.</summary>
public sealed record ServerOptimizerSpec
{
    /// <summary>Name in the strategy registry; <c>sgd</c>.</summary>
    public string Rule { get; init; } = "sgd";

    /// <summary>Server learning rate.</summary>
    public double LearningRate { get; init; } = 1.0;
}

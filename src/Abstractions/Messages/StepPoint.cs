namespace FedRLora.Abstractions.Messages;

/// <summary>
/// A client's training at one of its steps. A batch may be one row, so a point is of rows: it goes no further than the plan and the
/// site's administrator let it.
/// </summary>
public sealed record StepPoint
{
    /// <summary>The round.</summary>
    public required int Round { get; init; }

    /// <summary>The step, from 1, as the learning rate counts: over all rounds, also those that the client was not in.</summary>
    public required long Step { get; init; }

    /// <summary>Mean cross-entropy per completion token of the step's batch.</summary>
    public required double Loss { get; init; }

    /// <summary>
    /// Norm of the gradient of all that stepped, other terms of the objective included, before it was clipped; null where nothing did.
    /// </summary>
    public required double? GradientNorm { get; init; }

    /// <summary>The step's learning rate.</summary>
    public required double LearningRate { get; init; }

    /// <summary>
    /// Tokens of the client that went through the model, by the second since the point before it in the round, or since the round's start.
    /// Those of others in its group are not counted.
    /// </summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Memory of the whole process, which other clients and the base have too; not older than a tenth of a second.</summary>
    public required long ResidentBytes { get; init; }

    /// <summary>Seconds since the round's training began on the device.</summary>
    public required double Seconds { get; init; }
}

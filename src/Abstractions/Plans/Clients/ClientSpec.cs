namespace FedRLora.Abstractions.Plans;

/// <summary>A participant: one task at one site.</summary>
public sealed record ClientSpec
{
    /// <summary>Unique in the plan; letters, digits, dot, dash and underscore.</summary>
    public required string Id { get; init; }

    /// <summary>The task; clients of one task share a weight under <see cref="Weighting.UniformPerTask"/>.</summary>
    public required string Task { get; init; }

    /// <summary>Where the data must stay.</summary>
    public string Site { get; init; } = "local";

    /// <summary>The client's rows.</summary>
    public required DataSpec Data { get; init; }

    /// <summary>Steps in a round, instead of the plan's.</summary>
    public int? Steps { get; init; }

    /// <summary>Peak learning rate, instead of the plan's.</summary>
    public double? LearningRate { get; init; }

    /// <summary>A factor on the client's share in the mean.</summary>
    public double Weight { get; init; } = 1.0;
}

/// <summary>JSON Lines files of a client, relative to the plan's folder (simulate) or to the silo's root.</summary>
public sealed record DataSpec
{
    /// <summary>Rows to train on: prompt/completion (and label) or text/label.</summary>
    public required string Train { get; init; }

    /// <summary>Rows to score; null scores nothing.</summary>
    public string? Test { get; init; }

    /// <summary>First training row taken.</summary>
    public int Offset { get; init; }

    /// <summary>Training rows taken; null takes all from <see cref="Offset"/>.</summary>
    public int? Rows { get; init; }

    /// <summary>Deals the training labels out at random: the control that a score must not survive.</summary>
    public bool ShuffleLabels { get; init; }
}

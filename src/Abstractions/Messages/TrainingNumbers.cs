namespace FedRLora.Abstractions.Messages;

/// <summary>
/// What a client's training gave in numbers: one record, from the trainer through report, round and manifest to the metrics of a run.
/// </summary>
[GenerateSerializer, Immutable, Alias("fedrlora.training-numbers")]
public sealed record TrainingNumbers
{
    /// <summary>Training rows.</summary>
    [GoesTo(Audience.Everyone)]
    [Id(0)] public int Samples { get; init; }

    /// <summary>Steps taken.</summary>
    [GoesTo(Audience.Everyone)]
    [Id(1)] public int Steps { get; init; }

    /// <summary>
    /// Mean cross-entropy per completion token over the round's batches: other terms of the objective are not in it, whatever their weight.
    /// </summary>
    [GoesTo(Audience.Everyone)]
    [Id(2)] public double MeanLoss { get; init; }

    /// <summary>Frobenius norm of s (B A - B^0 A^0), summed over layers in quadrature; B^0 A^0 only where the start is anchored.</summary>
    [GoesTo(Audience.Everyone)]
    [Id(3)] public double ProductNorm { get; init; }

    /// <summary>The same of the last batch, which may be one row; null where it is not known.</summary>
    [GoesTo(Audience.Site)]
    [Id(4)] public double? LastLoss { get; init; }

    /// <summary>Seconds that its work waited at its site for a place and for the device; a time.</summary>
    [GoesTo(Audience.Coordinator)]
    [Id(5)] public double WaitedSeconds { get; init; }

    /// <summary>How its gates chose; null for a method without one that chooses heads.</summary>
    [GoesTo(Audience.Everyone)]
    [Id(6)] public GateUse? GateUse { get; init; }

    /// <summary>What of it an audience may see; the rest as where nothing is known.</summary>
    public TrainingNumbers For(Audience audience) => audience switch
    {
        Audience.Site => this,
        Audience.Coordinator => this with { LastLoss = null },
        _ => this with { LastLoss = null, WaitedSeconds = 0 },
    };

    /// <summary>With zero where a number is not finite: a manifest holds finite ones.</summary>
    public TrainingNumbers Finite() => this with
    {
        MeanLoss = OrZero(MeanLoss), ProductNorm = OrZero(ProductNorm),
        GateUse = GateUse is { } use && double.IsFinite(use.Share) ? use : null,
    };

    private static double OrZero(double value) => double.IsFinite(value) ? value : 0;
}

using FedRLora.Abstractions.Plans;

namespace FedRLora.Training;

/// <summary>How a model is taken for an adapter.</summary>
public sealed record BaseOptions
{
    /// <summary>How its weights lie in memory.</summary>
    public WeightStorage Storage { get; init; }

    /// <summary>An adapter that was trained on another base is used all the same, and that is said.</summary>
    public bool AllowOtherBase { get; init; }
}

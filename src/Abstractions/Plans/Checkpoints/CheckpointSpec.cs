namespace FedRLora.Abstractions.Plans;

/// <summary>What is written besides the committed rounds.</summary>
public sealed record CheckpointSpec
{
    /// <summary>Writes every client's adapter in PEFT's layout when the run ends.</summary>
    public bool Export { get; init; } = true;

    /// <summary>Committed rounds that keep their shared state, counted from the last; at least two are kept. Null: all.</summary>
    public int? KeepLast { get; init; }

    /// <summary>
    /// Every round whose number this divides keeps its shared state and its heads, whatever <see cref="KeepLast"/> says; null: none for
    /// that reason.
    /// </summary>
    public int? KeepEvery { get; init; }
}

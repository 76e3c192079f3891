using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// What a coordinator remembers of the open round across activations; what is committed stands in current.json alone. The names of
/// its members are those of the stored document.
/// </summary>
public sealed class JobMemory
{
    /// <summary>The open round.</summary>
    public RoundState State { get; set; } = RoundState.Initial;

    /// <summary>The plan it was opened under; null in documents that never saw an extension.</summary>
    public string? PlanSha256 { get; set; }

    /// <summary>Of a fork: the digest of the manifest it starts from, written before its plan is there; null for any other job.</summary>
    public string? OriginSha256 { get; set; }

    /// <summary>What the run was made with when it was opened; null in documents of versions that did not record it.</summary>
    public string? InputsSha256 { get; set; }

    /// <summary>
    /// The open round's span, to be linked by the next activation's, as W3C's <c>traceparent</c>; null where nobody traces.
    /// </summary>
    public string? Trace { get; set; }

    /// <summary>When it stopped, to be said and for nothing else; null while it runs.</summary>
    public DateTimeOffset? StoppedAt { get; set; }
}

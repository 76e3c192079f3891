using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>
/// What is known around a <see cref="RoundState"/> when somebody asks why a round does not go on; spans are by the asker's clock.
/// </summary>
public sealed record HoldFacts
{
    /// <summary>Why nothing is done: another base or another engine; null where it is not so.</summary>
    public string? Changed { get; init; }

    /// <summary>Why a store cannot be used; null where it can.</summary>
    public string? StoreTrouble { get; init; }

    /// <summary>How long the job has been stopped; null where it is not, or nobody wrote down since when.</summary>
    public TimeSpan? Stopped { get; init; }

    /// <summary>How long ago the open attempt's work was first sent; null where that is not known.</summary>
    public TimeSpan? Sent { get; init; }

    /// <summary>How long until the deadline; null without one.</summary>
    public TimeSpan? Left { get; init; }

    /// <summary>Sites of the plan without a live silo.</summary>
    public IReadOnlyList<AbsentSite> Absent { get; init; } = [];
}

using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// What became of a closed cohort: a new shared state, the updates that cannot be used, or that there are too few of them.
/// </summary>
public sealed record CohortAggregate
{
    /// <summary>Why updates were refused, by client; where there are any, there is nothing else.</summary>
    public required IReadOnlyDictionary<string, string> Refused { get; init; }

    /// <summary>
    /// Why the rule cannot work with so few updates, in one line; where it is given, nothing was read and there is nothing else.
    /// </summary>
    public string? TooFew { get; init; }

    /// <summary>The new shared state; null where updates were refused or are too few.</summary>
    public AdapterState? Shared { get; init; }

    /// <summary>The server optimizer's new state; null where the rule remembers nothing.</summary>
    public AdapterState? ServerOptimizer { get; init; }

    /// <summary>Agreement of the updates; null where nothing has a length.</summary>
    public double? Coherence { get; init; }

    /// <summary>Clients whose updates the rule left out or shortened, and why in a few words.</summary>
    public IReadOnlyDictionary<string, string> Curbed { get; init; } = new SortedDictionary<string, string>(StringComparer.Ordinal);

    /// <summary>What became of each task's state; empty where no tensor has scope Task.</summary>
    public IReadOnlyDictionary<string, TaskAggregate> Tasks { get; init; } =
        new SortedDictionary<string, TaskAggregate>(StringComparer.Ordinal);
}

/// <summary>What became of a task's state: a new one, or why it stays.</summary>
/// <param name="Shared">The new state; null where the one before stays.</param>
/// <param name="ServerOptimizer">The server optimizer's new state; null where the rule remembers nothing, or nothing moved.</param>
/// <param name="Coherence">Agreement of the updates; null where nothing has a length.</param>
/// <param name="Kept">Why the state before stays; null where there is a new one.</param>
public sealed record TaskAggregate(AdapterState? Shared, AdapterState? ServerOptimizer, double? Coherence, string? Kept);

/// <summary>What the clients of a task started from, and what it takes for that to move.</summary>
/// <param name="Shared">Its tensors of scope Task; empty will do where none of its clients is in the cohort.</param>
/// <param name="ServerOptimizer">The server optimizer's state for them; null at the start.</param>
public sealed record TaskStart(AdapterState Shared, AdapterState? ServerOptimizer = null)
{
    /// <summary>The updates without which the state stays as it is.</summary>
    public int Quorum { get; init; } = 1;

    /// <summary>Clients that the round asked for an update, whatever became of it.</summary>
    public int Asked { get; init; }

    /// <summary>How often the state has moved since each client's base version; null for not at all.</summary>
    public IReadOnlyDictionary<string, int>? Staleness { get; init; }
}

using System.Collections.Immutable;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>What clients share at the start of a round, in the job's store.</summary>
/// <param name="Job">The tensors of scope Job.</param>
/// <param name="Tasks">The tensors of scope Task, by task; empty where there are none.</param>
public sealed record SharedStates(BlobRef Job, ImmutableSortedDictionary<string, BlobRef> Tasks)
{
    private static readonly ImmutableSortedDictionary<string, BlobRef> NoTasks =
        ImmutableSortedDictionary.Create<string, BlobRef>(StringComparer.Ordinal);

    /// <summary>Of a candidate; where it leaves the state of a task as it was, that of before.</summary>
    /// <param name="candidate">The candidate.</param>
    /// <param name="before">As committed; null before round 0.</param>
    public static SharedStates Of(Candidate candidate, SharedStates? before) =>
        new(candidate.Shared, (before?.Tasks ?? NoTasks).SetItems(
            from task in candidate.Tasks
            where task.Value.Shared is not null
            select KeyValuePair.Create(task.Key, task.Value.Shared!)));

    /// <summary>The states of some tasks: what their clients receive, and nobody else.</summary>
    public IReadOnlyDictionary<string, BlobRef> For(IEnumerable<string> tasks) =>
        tasks.Where(Tasks.ContainsKey).Distinct(StringComparer.Ordinal)
            .ToImmutableSortedDictionary(static task => task, task => Tasks[task], StringComparer.Ordinal);
}

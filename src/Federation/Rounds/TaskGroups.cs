using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Rounds;

/// <summary>
/// The clients that aggregate some tensors among themselves alone, as the policies of the plan's tensors say: those of each task where
/// a tensor has scope Task, and no such groups otherwise.
/// </summary>
public sealed class TaskGroups
{
    private readonly Dictionary<string, string> _taskOf;

    private TaskGroups(Dictionary<string, string> taskOf)
    {
        _taskOf = taskOf;
        Members = new SortedDictionary<string, IReadOnlyList<string>>(
            taskOf.GroupBy(static client => client.Value, static client => client.Key, StringComparer.Ordinal).ToDictionary(
                static task => task.Key, static task => (IReadOnlyList<string>)[.. task.Order(StringComparer.Ordinal)],
                StringComparer.Ordinal),
            StringComparer.Ordinal);
    }

    /// <summary>The clients of each task, both in ordinal order; empty where no tensor has scope Task.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Members { get; }

    /// <summary>The groups of a plan.</summary>
    public static TaskGroups Of(FederationPlan plan) => new(plan.Adapter.Has(Scope.Task)
        ? plan.Clients.ToDictionary(static client => client.Id, static client => client.Task, StringComparer.Ordinal)
        : new(StringComparer.Ordinal));

    /// <summary>The task of a client; null where there are no groups.</summary>
    public string? Of(string client) => _taskOf.GetValueOrDefault(client);
}

using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Clients;

/// <summary>
/// The states of tasks in an assignment, held against its members: nobody is handed the state of a task that is not its own.
/// </summary>
internal sealed class TaskStates
{
    private readonly IndexedPlan _plan;
    private readonly SiteAssignment _assignment;

    /// <exception cref="InvalidOperationException">The assignment holds the state of a task that none of its members has.</exception>
    public TaskStates(IndexedPlan plan, SiteAssignment assignment)
    {
        (_plan, _assignment) = (plan, assignment);
        var own = assignment.Members.Select(member => plan.Client(member.ClientId).Task).ToHashSet(StringComparer.Ordinal);
        if (assignment.Tasks.Keys.FirstOrDefault(task => !own.Contains(task)) is { } foreign)
            throw new InvalidOperationException(
                $"The work holds the state of task {foreign}, which none of its clients has; it is not read.");
    }

    /// <summary>The state of a client's task; null where no tensor has scope Task.</summary>
    /// <exception cref="InvalidOperationException">A tensor has, and the assignment does not hold it.</exception>
    public BlobRef? Of(string client)
    {
        if (!_plan.Plan.Adapter.Has(Scope.Task)) return null;
        var task = _plan.Client(client).Task;
        return _assignment.Tasks.GetValueOrDefault(task) ?? throw new InvalidOperationException(
            $"The work holds no state of task {task}; is the coordinator's silo of another version?");
    }

    /// <summary>A client with what it owns and what its task shares, read.</summary>
    public async Task<GroupMember> MemberAsync(MemberWork work, SiloCache cache, IBlobStore site, CancellationToken cancellationToken) =>
        new()
        {
            Client = _plan.Client(work.ClientId),
            OfTask = Of(work.ClientId) is { } state ? await cache.OfTaskAsync(state, cancellationToken) : AdapterState.Empty,
            Head = work.Head is { } head ? await site.ReadStateAsync(head, cancellationToken) : null,
        };

    /// <summary>An assignment for some of its members, with the states of their tasks alone.</summary>
    public static SiteAssignment For(IReadOnlyList<MemberWork> members, SiteAssignment assignment, IndexedPlan plan)
    {
        if (assignment.Tasks.Count == 0) return assignment with { Members = members };
        var own = members.Select(member => plan.Client(member.ClientId).Task).ToHashSet(StringComparer.Ordinal);
        return assignment with
        {
            Members = members, Tasks = assignment.Tasks.Where(task => own.Contains(task.Key)).ToDictionary(StringComparer.Ordinal),
        };
    }
}

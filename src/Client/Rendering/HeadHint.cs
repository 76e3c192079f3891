using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Rendering;

/// <summary>What a plan's tasks suggest for its heads, where federations on a real model came out clearly (docs/experiments).</summary>
internal static class HeadHint
{
    private const string Heads = "B";

    /// <summary>A sentence; null where there is nothing to say.</summary>
    public static string? Of(FederationPlan plan)
    {
        var adapter = plan.Adapter;
        if (!adapter.Roles.Any(role => adapter.Moves(role.Name)) || adapter.Roles.All(static role => role.Name != Heads)
            || !adapter.Tensor(Heads).Trains) return null;
        var tasks = plan.Clients.CountBy(static client => client.Task).ToList();
        var most = tasks.MaxBy(static task => task.Value);
        return adapter.Tensor(Heads).Scope switch
        {
            Scope.Job when tasks.Count > 1 => $"Heads: B is averaged over {Words.Count(tasks.Count, "task")}, which costs accuracy where "
                + "their answers differ; with adapter.scopeB: task each task has its own.",
            Scope.Client when most.Value > 1 => $"Heads: B stays with each client, so that the {most.Value} clients of {most.Key} learn "
                + "little from each other's labels; with adapter.scopeB: task the clients of a task have one.",
            _ => null,
        };
    }
}

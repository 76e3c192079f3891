using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Rendering;

/// <summary>
/// What a plan's tasks suggest for its heads, by federations on a real model (docs/experiments). They had one head for each client or
/// task, of A and B alone, so nothing is said of other adapters.
/// </summary>
internal static class HeadHint
{
    private const string Down = "A", Heads = "B";

    /// <summary>A sentence; null where there is nothing to say, or where the plan with what it would say is none.</summary>
    public static string? Of(PlanFile file, FederationPlan plan)
    {
        var adapter = plan.Adapter;
        if (adapter.Heads != 1 || adapter.Routing is not Routing.ByTask || adapter.Objectives.Any(static one => one is Objective.Alignment)
            || adapter.Roles.All(static role => role.Name != Heads) || !adapter.Tensor(Heads).Trains
            || adapter.Roles.Any(role => role.Name is not (Down or Heads) && adapter.Tensor(role.Name).Trains)
            || !adapter.Roles.Any(role => adapter.Moves(role.Name))) return null;
        string[] keys = ["scopeB=task", .. adapter.Tensor(Heads).Seed == SeedPolicy.PerClient ? (string[])["seedB=perTask"] : []];
        var tasks = plan.Clients.CountBy(static client => client.Task).ToList();
        var most = tasks.MaxBy(static task => task.Value);
        var said = string.Join(" and ", keys.Select(static key => $"adapter.{key.Replace("=", ": ", StringComparison.Ordinal)}"));
        var hint = adapter.Tensor(Heads).Scope switch
        {
            Scope.Job when tasks.Count > 1 => $"Heads: B is aggregated over {Words.Count(tasks.Count, "task")}, which may cost accuracy "
                + $"where they are unlike; with {said} each task has its own.",
            Scope.Client when most.Value > 1 => $"Heads: B stays with each client, also where {most.Value} have the task {most.Key}; where "
                + $"their rows are unlike, they may learn more from each other with {said}.",
            _ => null,
        };
        return hint is null || file.With([.. keys.Select(static key => $"adapter.{key}")]).Read().Plan is null ? null : hint;
    }
}

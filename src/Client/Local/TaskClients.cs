using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Client.Local;

/// <summary>The clients of a task, as <c>--task</c> names them.</summary>
internal static class TaskClients
{
    /// <summary>Their ids.</summary>
    /// <param name="plan">The run's plan.</param>
    /// <param name="run">What the refusal calls the run.</param>
    /// <param name="task">The task.</param>
    /// <exception cref="BadInputException">There is no such task.</exception>
    public static IReadOnlyList<string> Of(FederationPlan plan, string run, string task)
    {
        string[] clients =
        [
            .. plan.Clients.Where(client => client.Task == task).Select(static client => client.Id).Order(StringComparer.Ordinal),
        ];
        return clients.Length > 0 ? clients : throw new BadInputException($"--task: {run} has no task {task}; its tasks are "
            + $"{string.Join(", ", plan.Clients.Select(static client => client.Task).Distinct().Order(StringComparer.Ordinal))}.");
    }

    /// <summary>Any of a task's clients, which have one adapter.</summary>
    /// <inheritdoc cref="Of" path="/param"/>
    /// <exception cref="BadInputException">There is no such task, or its clients have tensors of their own.</exception>
    public static string WithTheAdapterOf(FederationPlan plan, string run, string task)
    {
        var clients = Of(plan, run, task);
        if (clients.Count == 1 || plan.Adapter.OfClients is not [var own, ..]) return clients[0];
        var other = plan.Sharing == Sharing.None ? "without sharing: none" : $"with scope{own.KeyEnd}: task";
        throw new BadInputException($"--task: the {clients.Count} clients of {task} have no adapter in common, since each has its own "
            + $"{own.Name} (scope{own.KeyEnd}: {plan.Adapter.Tensor(own.Name).Scope.ToString().ToLowerInvariant()}); export them client by "
            + $"client, without --task, or train {other}.");
    }
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Puts a client's adapter together: shared tensors, its own, and what is redrawn from the seed.</summary>
internal static class AdapterFactory
{
    /// <summary>The value of every tensor of a client's adapter.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="layout">Of its adapter.</param>
    /// <param name="client">The client.</param>
    /// <param name="shared">A round's shared state, and tensors of scope Task as the client's task has them.</param>
    /// <param name="head">Tensors of scope Client; null before its first round.</param>
    /// <exception cref="BadInputException">A state does not fit the plan.</exception>
    public static AdapterState Values(FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState shared, AdapterState? head)
    {
        var ofTask = layout.Tensors.Where(static tensor => tensor.Scope == Scope.Task).Select(static tensor => tensor.Name)
            .ToHashSet(StringComparer.Ordinal);
        var job = AdapterLifecycle.Advance(layout, new(shared.Where(entry => !ofTask.Contains(entry.Key))), Scope.Job,
            plan.Seed, null).State;
        layout.Check(job, Scope.Job, "shared state");
        var task = OfTask(plan, layout, client, new(shared.Where(entry => ofTask.Contains(entry.Key))));
        if (head is not null)
        {
            head = AdapterLifecycle.Advance(layout, head, Scope.Client, plan.Seed, client).State;
            layout.Check(head, Scope.Client, $"head of client {client.Id}");
        }

        shared = new([.. job, .. task]);
        var redrawn = layout.Initial(plan.Seed, client,
            tensor => tensor.Scope == Scope.Seed || (head is null && tensor.Scope == Scope.Client), shared: shared);
        var tensors = shared.Where(static entry => !StatisticFamily.IsStatistic(entry.Key));
        return new AdapterState([.. tensors, .. head ?? AdapterState.Empty, .. redrawn]);
    }

    /// <summary>The frozen start of a client where it is anchored, else null.</summary>
    public static AdapterState? Start(FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState shared) =>
        layout.Spec.Start == Abstractions.Plans.Start.Anchored
            ? layout.Initial(plan.Seed, client, layout.HasStart, shared: shared) : null;

    /// <summary>What a client's adapter is made of.</summary>
    /// <inheritdoc cref="Values" path="/*[not(self::summary)]"/>
    public static ClientAdapter Of(
        FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState shared, AdapterState? head) =>
        new(layout, Values(plan, layout, client, shared, head), Start(plan, layout, client, shared));

    /// <summary>What the adapter of a group's member is made of.</summary>
    /// <inheritdoc cref="Values" path="/exception"/>
    public static ClientAdapter Of(TrainingGroup group, AdapterLayout layout, GroupMember member)
    {
        OfTask(group.Plan, layout, member.Client, member.OfTask); // else what lies there and is none of its own would be taken
        return Of(group.Plan, layout, member.Client, new AdapterState([.. group.Shared, .. member.OfTask]), member.Head);
    }

    private static AdapterState OfTask(FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState state)
    {
        var now = AdapterLifecycle.Advance(layout, state, Scope.Task, plan.Seed, client: null, client.Task).State;
        layout.Check(now, Scope.Task, $"state of task {client.Task}");
        return now;
    }
}

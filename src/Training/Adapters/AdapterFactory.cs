using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Puts a client's adapter together: shared tensors, its own, and what is redrawn from the seed.</summary>
internal static class AdapterFactory
{
    /// <summary>The value of every tensor of a client's adapter.</summary>
    /// <exception cref="BadInputException">A state does not fit the plan.</exception>
    public static AdapterState Values(FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState shared, AdapterState? head)
    {
        layout.Check(shared, Scope.Job, "shared state");
        if (head is not null) layout.Check(head, Scope.Client, $"head of client {client.Id}");
        var redrawn = layout.Initial(plan.Seed, client,
            tensor => tensor.Scope == Scope.Seed || (head is null && tensor.Scope == Scope.Client));
        return new AdapterState([.. shared, .. head ?? AdapterState.Empty, .. redrawn]);
    }

    /// <summary>The frozen start of a client where it is anchored, else null.</summary>
    public static AdapterState? Start(FederationPlan plan, AdapterLayout layout, ClientSpec client) =>
        layout.Spec.Start == Abstractions.Plans.Start.Anchored ? layout.Initial(plan.Seed, client, layout.HasStart) : null;

    /// <summary>What a client's adapter is made of.</summary>
    /// <inheritdoc cref="Values" path="/exception"/>
    public static ClientAdapter Of(
        FederationPlan plan, AdapterLayout layout, ClientSpec client, AdapterState shared, AdapterState? head) =>
        new(layout, Values(plan, layout, client, shared, head), Start(plan, layout, client));
}

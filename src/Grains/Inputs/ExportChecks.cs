using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Inputs;

/// <summary>What an export reads besides the run's own states must be what the run was made with.</summary>
public static class ExportChecks
{
    /// <summary>
    /// Holds a plan's values, and the adapter that it starts from, against the committed round's engine, which names them.
    /// </summary>
    /// <exception cref="BadInputException">They are others.</exception>
    public static void Require(IAdapterExporter exporter, FederationPlan plan, string? engine)
    {
        PlanText.RequireValues(plan, plan.Name, engine);
        if (exporter.DigestOfGiven(plan) is { } digest && engine?.Contains(digest, StringComparison.Ordinal) != true)
            throw new BadInputException($"{plan.Adapter.From}: not the adapter that the run started from; put that one back, " +
                "its scaling belongs to the trained tensors");
    }
}

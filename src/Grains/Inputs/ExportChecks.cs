using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Inputs;

/// <summary>What an export reads besides the run's own states must be what the run was made with.</summary>
public static class ExportChecks
{
    /// <summary>Holds the adapter that a plan starts from against the committed round's engine, which names it.</summary>
    /// <exception cref="BadInputException">It is another one.</exception>
    public static void RequireGiven(IAdapterExporter exporter, FederationPlan plan, string? engine)
    {
        if (exporter.DigestOfGiven(plan) is { } digest && engine?.Contains(digest, StringComparison.Ordinal) != true)
            throw new BadInputException($"{plan.Adapter.From}: not the adapter that the run started from; put that one back, " +
                "its scaling belongs to the trained tensors");
    }
}

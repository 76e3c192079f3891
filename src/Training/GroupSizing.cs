using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Lanes;
using FedRLora.Training.Models;

namespace FedRLora.Training;

/// <summary>
/// How many clients of a site train together where the plan leaves it open: a function of the plan's values and the model's shapes. More
/// clients in a pass fill the products of small batches; groups of their own are what the lanes of a device work on side by side.
/// </summary>
public static class GroupSizing
{
    // Tokens of a pass from which one more client saves less than a lane of its own.
    private const long FullPass = 128;
    private const int Most = 8;

    /// <summary>Clients in a group.</summary>
    /// <param name="plan">A plan.</param>
    /// <param name="folder">Its model folder, of which <c>config.json</c> is read where the plan leaves the number open.</param>
    /// <exception cref="BadInputException">The configuration is missing or not implemented, or the adapter does not fit it.</exception>
    public static int Of(FederationPlan plan, string folder)
    {
        if (plan.Training.GroupSize is { } given) return given;
        if (WhyOne(plan) is not null) return 1;
        var layers = FrozenBase.LayersOf(folder);
        return Of(plan, ModelConfig.Load(folder), layers, WorkMemory.OfMember(AdapterLayout.Unbounded(plan.Adapter, layers)));
    }

    /// <summary>What in a plan asks for groups of one; null where nothing does.</summary>
    public static string? WhyOne(FederationPlan plan)
    {
        if (plan.Strategy.Trigger.Rule == TriggerRule.Buffered) return "clients of buffered rounds start at different times";
        if (plan.Strategy.TimeBudget is not null) return "a time budget is each client's own";
        return plan.Faults.Any(static fault => fault.Delay is not null) ? "a delay is one client's" : null;
    }

    private static int Of(FederationPlan plan, ModelConfig config, IReadOnlyList<LinearShape> layers, long perMember)
    {
        var tokens = Math.Min(plan.Training.MaxTokens, config.MaxPositions) * (long)plan.Training.BatchSize;
        var bytes = perMember + tokens * WorkMemory.OfRow(plan.Training, config, [.. layers.Where(static layer => layer.Kind is LayerKind.Linear or LayerKind.Conv1D)]);
        var fitting = plan.Training.PassMemoryMb * 1_000_000L / bytes;
        return (int)Math.Clamp(Math.Min(FullPass / tokens, fitting), 1, Most);
    }
}

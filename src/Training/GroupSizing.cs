using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Lanes;
using FedRLora.Training.Models;

namespace FedRLora.Training;

/// <summary>
/// How many clients of a site train together where the plan leaves it open: a function of the plan's values and the model's shapes. More
/// clients in a pass fill the products of small batches and share what a pass costs beside them; groups of their own are what the lanes
/// of a device work on side by side. The numbers are measured, docs/performance.md has them.
/// </summary>
public static class GroupSizing
{
    private const int Most = 8;

    // Rows are rarely as long as the plan allows; memory is counted as if they were.
    private const int UsualShare = 4;

    // Tokens in a pass from which one more client saves less than a tenth: fewer for a wide model, whose products fill sooner.
    private static long FullPass(int width) => Math.Clamp(32_768 / width, 64, 512);

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
        var most = Math.Min(plan.Training.MaxTokens, config.MaxPositions) * (long)plan.Training.BatchSize;
        var usual = Math.Max(1, most / UsualShare);
        IReadOnlyList<LinearShape> linears = [.. layers.Where(static layer => layer.Kind is LayerKind.Linear or LayerKind.Conv1D)];
        var bytes = perMember + most * WorkMemory.OfRow(plan.Training, config, linears);
        var fitting = plan.Training.PassMemoryMb * 1_000_000L / bytes;
        var half = plan.Clients.CountBy(static client => client.Site).Max(static site => site.Value + 1) / 2; // or a lane is idle
        return (int)Math.Clamp(Math.Min(FullPass(config.HiddenSize) / usual, Math.Min(fitting, half)), 1, Most);
    }
}

using FedRLora.Abstractions.Plans;

namespace FedRLora.Abstractions.Sending;

/// <summary>A kind of tensor whose updates leave a site, as a plan has it; points of steps are counted as one.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.sent-tensor")]
public sealed record SentTensor
{
    /// <summary>Its role: A, B, router, magnitude.</summary>
    [Id(0)] public required string Name { get; init; }

    /// <summary>Its scope as a plan writes it: a silo that does not know one lets no tensor of it leave.</summary>
    [Id(1)] public required string Scope { get; init; }

    /// <summary>What all statistics of a method are called; they go to all clients, as a sum.</summary>
    public const string Statistics = "statistics";

    /// <summary>
    /// What the points of steps are called where they leave. They have no scope that a word of scopes lets through: they are of batches,
    /// which may be one row.
    /// </summary>
    public const string Steps = "steps";

    /// <summary>What leaves a site under a plan.</summary>
    public static IReadOnlyList<SentTensor> Of(FederationPlan plan) =>
        plan.Telemetry.SendsSteps ? [.. Of(plan.Adapter), new() { Name = Steps, Scope = Named(Plans.Scope.Client) }] : Of(plan.Adapter);

    /// <summary>What the updates of a method hold.</summary>
    public static IReadOnlyList<SentTensor> Of(AdapterSpec adapter) =>
    [
        .. adapter.Roles.Where(role => adapter.Moves(role.Name))
            .Select(role => new SentTensor { Name = role.Name, Scope = Named(adapter.Tensor(role.Name).Scope) }),
        .. adapter.Statistics.Count > 0 ? [OfStatistics] : (SentTensor[])[],
    ];

    /// <summary>What an update holds: the kinds of its tensors by the ends of their names.</summary>
    /// <param name="names">The tensors' whole names.</param>
    /// <param name="adapter">The method; a kind that it does not have is of no scope that anybody allows.</param>
    public static IReadOnlyList<SentTensor> Of(IEnumerable<string> names, AdapterSpec adapter) =>
    [
        .. names.Select(static name => StatisticFamily.IsStatistic(name) ? StatisticFamily.Prefix : TensorRole.Of(name))
            .Distinct(StringComparer.Ordinal).Select(name => name == StatisticFamily.Prefix ? OfStatistics with
            {
                Scope = adapter.Statistics.Count > 0 ? OfStatistics.Scope : Unknown,
            }
            : new SentTensor { Name = name, Scope = adapter.Has(name) ? Named(adapter.Tensor(name).Scope) : Unknown }),
    ];

    private const string Unknown = "unknown";

    private static SentTensor OfStatistics { get; } = new() { Name = Statistics, Scope = Named(Plans.Scope.Job) };

    private static string Named(Scope scope) => scope.ToString().ToLowerInvariant();
}

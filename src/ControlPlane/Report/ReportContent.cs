using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Report;

/// <summary>What a report shows.</summary>
internal sealed record ReportContent
{
    public required FederationPlan Plan { get; init; }

    /// <summary>The plan as it was written.</summary>
    public required string PlanYaml { get; init; }

    /// <summary>How the report came about.</summary>
    public required ReportFacts Facts { get; init; }

    /// <summary>The last manifest; null before round 0.</summary>
    public required RoundSummary? Last { get; init; }

    /// <summary>The run's rounds, with round 0.</summary>
    public required IReadOnlyList<RoundView> Rounds { get; init; }

    /// <summary>The same in few numbers.</summary>
    public required IReadOnlyList<RoundAggregate> Aggregates { get; init; }

    /// <summary>Rounds of the run that shared nothing; empty if there was none.</summary>
    public required IReadOnlyList<RoundView> LocalOnly { get; init; }

    /// <summary>The outcome.</summary>
    public required FinalTable Final { get; init; }

    /// <summary>Its pictures.</summary>
    public ReportPlots Plots => field ??= ReportPlots.Of(this);

    /// <summary>What a report shows of a run.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="federated">The run's rounds, with round 0.</param>
    /// <param name="localOnly">Rounds of the run that shared nothing; null if there was none.</param>
    /// <param name="planYaml">The plan as it was written.</param>
    /// <param name="facts">How the report came about.</param>
    /// <param name="versusLocal">The last scores beside those of the local-only run, where their rows are known.</param>
    public static ReportContent Of(
        FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly,
        string planYaml, ReportFacts facts, IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null)
    {
        RoundView[] rounds = [.. federated.Select(round => RoundView.Of(round, plan))];
        return new()
        {
            Plan = plan, PlanYaml = planYaml, Facts = facts, Last = federated.Count == 0 ? null : federated[^1],
            Rounds = rounds, Aggregates = [.. rounds.Select(RoundAggregate.Of)],
            LocalOnly = [.. (localOnly ?? []).Select(round => RoundView.Of(round, plan))],
            Final = FinalTable.Of(plan, federated, localOnly, versusLocal),
        };
    }
}

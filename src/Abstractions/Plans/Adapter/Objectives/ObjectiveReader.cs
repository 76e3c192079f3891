using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary>Reads <c>adapter.objectives</c>: a new term is a line here.</summary>
internal static class ObjectiveReader
{
    private static readonly Dictionary<string, RuleReader<Objective>> Terms = new(StringComparer.OrdinalIgnoreCase)
    {
        ["proximal"] = new(static values => values is null ? new Objective.Proximal()
            : new Objective.Proximal(values.Number("mu", 0.01, Above(0, Bounds.Many))), "mu"),
        ["controlVariates"] = new(static _ => new Objective.ControlVariates()),
        ["alignment"] = new(static values => values is null ? new Objective.Alignment()
            : new Objective.Alignment(
                values.Choice("kind", AlignmentKind.Kl), values.Number("lambda", 0.2, Above(0, Bounds.Many)),
                values.Number("clip", 100, Above(1, Bounds.Many))), "kind"),
        ["orthogonality"] = new(static values => values is null ? new Objective.Orthogonality()
            : new Objective.Orthogonality(values.Number("gamma", 0.5, Above(0, Bounds.Many))), "gamma"),
        ["gateLoss"] = new(static values => values is null ? new Objective.GateLoss()
            : new Objective.GateLoss(values.Number("beta", 1, Above(0, Bounds.Many))), "beta"),
        ["rankPrune"] = new(static values => values is null ? new Objective.RankPrune()
            : new Objective.RankPrune(values.Number("lambda", 5e-4, Above(0, Bounds.Many)), values.Number("gamma", 0.5, Closed(0, 1)))),
    };

    public static IReadOnlyList<Objective> Read(PlanSection adapter, IReadOnlyList<Objective> fallback) =>
        adapter.Rules("objectives", Terms, "a list such as [proximal: 0.01]", fallback);
}

using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;

namespace FedRLora.Training.Objectives;

/// <summary>
/// From declarations to terms: a new one is a line here. The first term of every method stands in no plan: the mean cross-entropy of the
/// completion tokens, <see cref="Steps.PackedLoss"/>. It alone is what a client reports as its loss.
/// </summary>
internal static class ObjectiveTerms
{
    private static readonly Dictionary<Type, Line> Table = new()
    {
        [typeof(Objective.Proximal)] = new(static (term, round) => new ProximalTerm(((Objective.Proximal)term).Mu, round.Stack)),
        [typeof(Objective.ControlVariates)] = new(static (_, round) => new ControlVariatesTerm(round), ControlVariatesTerm.Vectors),
        [typeof(Objective.Alignment)] = new(
            static (term, round) => new AlignmentTerm((Objective.Alignment)term, round), AlignmentTerm.Vectors),
        [typeof(Objective.Orthogonality)] = new(
            static (term, round) => new OrthogonalityTerm(((Objective.Orthogonality)term).Gamma, round.Stack)),
        [typeof(Objective.RankPrune)] = new(static (term, round) => new RankPruneTerm((Objective.RankPrune)term, round.Stack)),
        [typeof(Objective.GateLoss)] = new(static (_, _) => null), // the gate itself adds it, where it weighs
    };

    /// <summary>The terms of a plan in a round.</summary>
    public static IReadOnlyList<ObjectiveTerm> Of(TermRound round) =>
        [.. Known(round.Plan).Select(known => known.Line.Make(known.Term, round)).OfType<ObjectiveTerm>()];

    /// <summary>The statistics that every client of a plan sends, by name with their shapes.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="layout">Of its adapter, in any round.</param>
    public static IEnumerable<KeyValuePair<string, IReadOnlyList<long>>> Vectors(FederationPlan plan, AdapterLayout layout) =>
        Known(plan).SelectMany(known => known.Line.Vectors?.Invoke(plan, layout) ?? []);

    /// <summary>Refuses a shared state that lacks a statistic of the plan, or has it in another shape.</summary>
    /// <exception cref="BadInputException">The statistic is named.</exception>
    public static void Check(FederationPlan plan, AdapterLayout layout, AdapterState shared)
    {
        foreach (var (name, shape) in Vectors(plan, layout))
        {
            if (!shared.TryGetValue(name, out var array)) throw new BadInputException($"shared state: {name} is missing");
            if (!array.Shape.SequenceEqual(shape))
                throw new BadInputException($"shared state: {name} has shape [{string.Join(", ", array.Shape)}], "
                    + $"the plan asks for [{string.Join(", ", shape)}]");
        }
    }

    // Where nothing is aggregated, there is nobody whose statistics a term could use.
    private static IEnumerable<(Objective Term, Line Line)> Known(FederationPlan plan) => plan.Adapter.Objectives
        .Where(term => term.Statistics is null || plan.StatisticFamilies.Contains(term.Statistics))
        .Select(static term => (term, Table[term.GetType()]));

    /// <summary>A kind of term.</summary>
    /// <param name="Make">Null where the term needs nothing of its own.</param>
    /// <param name="Vectors">Its statistics; null for none.</param>
    private sealed record Line(
        Func<Objective, TermRound, ObjectiveTerm?> Make,
        Func<FederationPlan, AdapterLayout, IEnumerable<KeyValuePair<string, IReadOnlyList<long>>>>? Vectors = null);
}

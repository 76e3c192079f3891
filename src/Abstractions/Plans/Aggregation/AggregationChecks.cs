using System.Globalization;

namespace FedRLora.Abstractions.Plans;

/// <summary>
/// Whether an aggregation rule has what it needs: its own parameters and no others, and enough updates in the smallest round.
/// </summary>
internal static class AggregationChecks
{
    private const string Section = "strategy.aggregation";

    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        var spec = plan.Strategy.Aggregation;
        foreach (var (key, given) in Parameters(spec))
        {
            if (given && !Uses(spec, key))
            {
                yield return new(
                    spec.Rule == "mean" && key == "perTask"
                        ? "a mean of means changes nothing; remove it, or give a robust rule."
                        : $"{spec.Rule} does not use it; remove it.",
                    $"{Section}.{key}", $"{Section}.rule");
            }
        }

        if (Uses(spec, "byzantine") && spec.Byzantine is null)
        {
            yield return new(
                $"{spec.Rule} has to know how many clients may be hostile; give byzantine: 1 or more.",
                $"{Section}.rule", $"{Section}.byzantine");
        }
        else if (plan.Clients.Count > 0)
        {
            foreach (var conflict in spec.PerTask ? TooSmallTasks(plan) : [.. TooSmallRounds(plan), .. TooSmallGroups(plan)])
                yield return conflict;
        }
    }

    private static IEnumerable<(string Key, bool Given)> Parameters(AggregationSpec spec) =>
    [
        ("trim", spec.Trim is not null), ("byzantine", spec.Byzantine is not null), ("keep", spec.Keep is not null),
        ("maxNorm", spec.MaxNorm is not null), ("iterations", spec.Iterations is not null), ("perTask", spec.PerTask),
    ];

    private static bool Uses(AggregationSpec spec, string key) => spec.Terms.Parameters.Contains(key);

    // A round closes with its quorum at the least, so the rule has to stand that many.
    private static IEnumerable<PlanConflict> TooSmallRounds(FederationPlan plan)
    {
        var (spec, strategy) = (plan.Strategy.Aggregation, plan.Strategy);
        var cohort = Cohort(strategy, plan.Clients.Count);
        var smallest = Math.Max(1, (int)Math.Ceiling((strategy.Quorum * cohort) - 1e-9));
        if (smallest >= spec.Fewest)
            yield break;
        var closes = smallest == cohort
            ? Invariant($"a round has {cohort}")
            : Invariant($"a round of {cohort} may close with {smallest} at a quorum of {strategy.Quorum}");
        var advice = cohort >= spec.Fewest
            ? Invariant($"give quorum: {Math.Ceiling(1000.0 * spec.Fewest / cohort) / 1000} or more, or {spec.Terms.Milder(spec)}")
            : $"give more clients, {spec.Terms.Milder(spec)}, or a rule without a bound, such as median";
        yield return new($"{spec.Need}, {closes}; {advice}.", [.. Paths(spec), "strategy.quorum", "strategy.selection", "clients"]);
    }

    // How many of a task report is not known before the round, which is then refused; how many there are at most is.
    private static IEnumerable<PlanConflict> TooSmallTasks(FederationPlan plan)
    {
        var spec = plan.Strategy.Aggregation;
        var small = plan.Clients.CountBy(static client => client.Task).Where(task => task.Value < spec.Fewest)
            .OrderBy(static task => task.Key, StringComparer.Ordinal).ToList();
        if (small.Count == 0)
            yield break;
        var counts = string.Join(", ", small.Select(static task => Invariant($"{task.Key} has {task.Value}")));
        yield return new(
            $"{spec.Need} of each task, {counts}; give {spec.Terms.Milder(spec)}, or remove perTask.", [.. Paths(spec), "clients"]);
    }

    // A tensor of scope task is aggregated over the clients of a task, of whom a round of all closes with their quorum at the least.
    private static IEnumerable<PlanConflict> TooSmallGroups(FederationPlan plan)
    {
        var (spec, strategy) = (plan.Strategy.Aggregation, plan.Strategy);
        var tensors = plan.Adapter.Roles.Where(role => plan.Adapter.Tensor(role.Name).Scope == Scope.Task).ToList();
        var sizes = plan.Clients.CountBy(static client => client.Task).OrderBy(static task => task.Key, StringComparer.Ordinal).ToList();
        if (tensors.Count == 0 || sizes.Count < 2) yield break; // of one task the check of the round says it
        var takesAll = strategy is { Selection.Rule: SelectionRule.All, Trigger.Rule: TriggerRule.Synchronous };
        int Smallest(int clients) => takesAll ? Math.Max(1, (int)Math.Ceiling((strategy.Quorum * clients) - 1e-9)) : clients;
        var small = sizes.Where(task => Smallest(task.Value) < spec.Fewest).ToList();
        if (small.Count == 0) yield break;
        var counts = string.Join(", ", small.Select(task => Smallest(task.Value) == task.Value
            ? Invariant($"{task.Key} has {task.Value}")
            : Invariant($"{task.Key} has {task.Value} and may close with {Smallest(task.Value)} at a quorum of {strategy.Quorum}")));
        var names = string.Join(" and ", tensors.Select(static role => role.Name));
        yield return new(
            $"{spec.Need} of each task for {names} of scope task, {counts}; give {spec.Terms.Milder(spec)}, "
            + "a rule without a bound, such as median, "
            + $"or {string.Join(", ", tensors.Select(static role => $"scope{role.KeyEnd}: client"))}.",
            [.. Paths(spec), .. tensors.SelectMany(static role => AdapterChecks.PathsOf(role.Name, "scope")), "clients"]);
    }

    private static IEnumerable<string> Paths(AggregationSpec spec) =>
        spec.Terms.Parameters.Append("rule").Select(static key => $"{Section}.{key}");

    // Updates that close a round at once.
    private static int Cohort(StrategySpec strategy, int clients) => strategy switch
    {
        { Trigger: { Rule: TriggerRule.Buffered, BufferSize: var size } } => Math.Min(clients, size),
        { Selection.Rule: SelectionRule.All } => clients,
        { Selection.Fraction: var fraction } =>
            Math.Min(clients, Math.Max(1, (int)Math.Round(fraction * clients, MidpointRounding.AwayFromZero))),
    };

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

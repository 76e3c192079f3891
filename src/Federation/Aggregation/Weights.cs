using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Aggregation;

/// <summary>Shares of a closed cohort in the mean.</summary>
public static class Weights
{
    /// <summary>
    /// Normalized shares p_k in the order of <paramref name="closed"/>: the plan's <see cref="Weighting"/> times the client's
    /// <see cref="ClientSpec.Weight"/>, over their sum. A client alone has exactly 1. Where every share is 0 (no rows, heads
    /// still at zero) all are the same.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="closed">The closed cohort in ordinal order.</param>
    /// <param name="reports">Reports of the cohort.</param>
    /// <param name="staleness">Rounds since each client's base version, in the order of <paramref name="closed"/>; null means none, as in
    /// synchronous rounds.</param>
    public static double[] Of(
        FederationPlan plan, IReadOnlyList<string> closed, IReadOnlyDictionary<string, KeptReport> reports,
        IReadOnlyList<int>? staleness = null)
    {
        var byId = plan.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var clients = closed.Select(id => byId[id]).ToArray();
        var perTask = clients.CountBy(static client => client.Task).ToDictionary(StringComparer.Ordinal);

        var shares = clients.Select((client, index) => client.Weight * (plan.Adapter.Weighting switch
        {
            Weighting.Samples => reports[client.Id].Numbers.Samples,
            Weighting.Uniform => 1.0,
            Weighting.UniformPerTask => 1.0 / perTask[client.Task],
            Weighting.ProductNorm => reports[client.Id].Numbers.ProductNorm,
            Weighting.Staleness => 1.0 / Math.Sqrt(1 + (staleness?[index] ?? 0)),
            _ => throw new ArgumentException($"{plan.Adapter.Weighting} is no weighting.", nameof(plan)),
        })).ToArray();

        var total = shares.Sum();
        return total > 0 ? [.. shares.Select(share => share / total)] : [.. shares.Select(_ => 1.0 / shares.Length)];
    }

    /// <summary>Rounds since each client's base version, in the order of <paramref name="closed"/>.</summary>
    public static int[] Staleness(RoundState state, IReadOnlyList<string> closed) =>
        [.. closed.Select(client => state.Round - state.WorkOf(client).Round)];

    /// <summary>How often the state of a task has moved since the base version of each of some of its clients.</summary>
    public static IReadOnlyDictionary<string, int> StalenessIn(RoundState state, string task, IEnumerable<string> clients) =>
        clients.ToDictionary(
            static client => client,
            client => state.Carried.TryGetValue(client, out var work) ? state.Versions.GetValueOrDefault(task) - work.Version : 0,
            StringComparer.Ordinal);

    /// <summary>
    /// What remains of each share in a buffered round: (1 + t)^-a for staleness t (FedBuff, arXiv 2106.06639, section 5). The
    /// discounted shares do not add up to one: a stale buffer moves the shared state less. 1 in synchronous rounds, and where the
    /// plan's <see cref="Weighting.Staleness"/> has discounted the shares already.
    /// </summary>
    public static double Discount(FederationPlan plan, int staleness) =>
        plan.Strategy.Trigger.Rule == TriggerRule.Buffered && plan.Adapter.Weighting != Weighting.Staleness
            ? Math.Pow(1 + staleness, -plan.Strategy.Trigger.StalenessExponent)
            : 1;
}

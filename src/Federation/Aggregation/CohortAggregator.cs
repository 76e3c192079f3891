using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;
using FedRLora.Federation.ServerOptimizers;

namespace FedRLora.Federation.Aggregation;

/// <summary>What became of a closed cohort: a new shared state, or the updates that cannot be used.</summary>
public sealed record CohortAggregate
{
    /// <summary>Why updates were refused, by client; where there are any, there is nothing else.</summary>
    public required IReadOnlyDictionary<string, string> Refused { get; init; }

    /// <summary>The new shared state; null where updates were refused.</summary>
    public AdapterState? Shared { get; init; }

    /// <summary>The server optimizer's new state; null where the rule remembers nothing.</summary>
    public AdapterState? ServerOptimizer { get; init; }

    /// <summary>Agreement of the updates; null where nothing has a length.</summary>
    public double? Coherence { get; init; }
}

/// <summary>From updates to the next shared state, one update in memory at a time.</summary>
public static class CohortAggregator
{
    /// <summary>Reads each update once, in the order of <paramref name="closed"/>; all of them are checked even after one is refused.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="serverOptimizer">The server optimizer's state; null at the start.</param>
    /// <param name="closed">The closed cohort in ordinal order.</param>
    /// <param name="reports">Reports of the cohort.</param>
    /// <param name="read">Reads a client's update; a <see cref="Abstractions.BadInputException"/> refuses it.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="InvalidOperationException">The new shared state is not finite.</exception>
    public static async Task<CohortAggregate> RunAsync(
        FederationPlan plan, AdapterState global, AdapterState? serverOptimizer, IReadOnlyList<string> closed, IReadOnlyDictionary<string, ClientNote> reports,
        Func<string, CancellationToken, Task<AdapterState>> read, CancellationToken cancellationToken = default)
    {
        var shapes = AdapterShapes.Of(global);
        var sum = StrategyRegistry.Aggregation(plan).Begin(shapes);
        var weights = Weights.Of(plan, closed, reports);
        var refused = new SortedDictionary<string, string>(StringComparer.Ordinal);

        for (var i = 0; i < closed.Count; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var (update, problem) = await ReadAsync(shapes, closed[i], read, cancellationToken);
            if (problem is not null)
                refused.Add(closed[i], problem);
            else if (refused.Count == 0)
                sum.Add(update, weights[i]);
        }
        if (refused.Count > 0)
            return new CohortAggregate { Refused = refused };

        var mean = sum.Finish();
        var (shared, state) = StrategyRegistry.ServerOptimizer(plan).Step(global, mean.Update, serverOptimizer);
        if (UpdateCheck.Find(shapes, shared) is { } broken)
            throw new InvalidOperationException($"The new shared state is not usable: {broken}");
        return new CohortAggregate { Refused = refused, Shared = shared, ServerOptimizer = state, Coherence = mean.Coherence };
    }

    private static async Task<(AdapterState Update, string? Problem)> ReadAsync(
        AdapterShapes shapes, string client, Func<string, CancellationToken, Task<AdapterState>> read, CancellationToken cancellationToken)
    {
        try
        {
            var update = await read(client, cancellationToken);
            return (update, UpdateCheck.Find(shapes, update));
        }
        catch (Abstractions.BadInputException e)
        {
            return (AdapterState.Empty, e.Message);
        }
    }
}

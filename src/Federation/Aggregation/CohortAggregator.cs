using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Aggregation;

/// <summary>From updates to the next shared state: a few are read at the same time, each is added in its turn.</summary>
public static class CohortAggregator
{
    private const int MostReaders = 4;

    /// <summary>
    /// Reads each update once, or twice where the rule needs lengths first, and adds it in the order of <paramref name="closed"/>; all of
    /// them are checked even after one is refused. Memory is the accumulator and a window of 256 kB for each reader, however large the
    /// cohort and its updates, unless the rule keeps them.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="round">The round, which says what moves.</param>
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="serverOptimizer">The server optimizer's state; null at the start.</param>
    /// <param name="closed">The closed cohort in ordinal order.</param>
    /// <param name="reports">Reports of the cohort.</param>
    /// <param name="open">Opens a client's update; a <see cref="BadInputException"/> refuses it.</param>
    /// <param name="staleness">Rounds since each client's base version, in the order of <paramref name="closed"/>; null for none.</param>
    /// <param name="tasks">What the clients of each task started from; null where no tensor has scope Task.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="InvalidOperationException">The new shared state is not finite.</exception>
    public static Task<CohortAggregate> RunAsync(
        FederationPlan plan, int round, AdapterState global, AdapterState? serverOptimizer, IReadOnlyList<string> closed,
        IReadOnlyDictionary<string, KeptReport> reports, Func<string, CancellationToken, Task<IUpdateReader>> open,
        IReadOnlyList<int>? staleness = null, IReadOnlyDictionary<string, TaskStart>? tasks = null,
        CancellationToken cancellationToken = default) =>
        RunAsync(
            StrategyRegistry.Aggregation(plan), plan, round, global, serverOptimizer, closed, reports, open, staleness, tasks,
            cancellationToken);

    /// <summary>The same by <paramref name="rule"/>, which may be another than the plan's.</summary>
    /// <inheritdoc cref="RunAsync(FederationPlan, int, AdapterState, AdapterState, IReadOnlyList{string},
    /// IReadOnlyDictionary{string, KeptReport}, Func{string, CancellationToken, Task{IUpdateReader}}, IReadOnlyList{int},
    /// IReadOnlyDictionary{string, TaskStart}, CancellationToken)"/>
    public static async Task<CohortAggregate> RunAsync(
        IAggregationRule rule, FederationPlan plan, int round, AdapterState global, AdapterState? serverOptimizer,
        IReadOnlyList<string> closed, IReadOnlyDictionary<string, KeptReport> reports,
        Func<string, CancellationToken, Task<IUpdateReader>> open, IReadOnlyList<int>? staleness = null,
        IReadOnlyDictionary<string, TaskStart>? tasks = null, CancellationToken cancellationToken = default)
    {
        tasks ??= new Dictionary<string, TaskStart>();
        var moving = new MovingTensors(plan, round);
        var parts = new CohortParts(plan, rule, moving, global, tasks, closed, reports, staleness);
        if (parts.TooFew is { } tooFew)
            return new CohortAggregate { Refused = new Dictionary<string, string>(), TooFew = tooFew };

        var statistics = new StatisticSums(plan, global);
        var refused = new SortedDictionary<string, string>(StringComparer.Ordinal);
        if (rule.NeedsLengths)
        {
            var measured = new CohortParts.Addition[closed.Count];
            await PassAsync(adds: false, (client, addition, _) => measured[client] = addition);
            if (refused.Count == 0) parts.Measured(measured);
        }

        if (refused.Count == 0)
            await PassAsync(adds: true, (_, addition, whole) => parts.Added(addition, whole));
        if (refused.Count > 0)
            return new CohortAggregate { Refused = refused };

        var finished = parts.Finish();
        var summed = statistics.Finish();
        var counted = new AdapterState(
            global.Select(array => KeyValuePair.Create(array.Key, summed.GetValueOrDefault(array.Key, array.Value))));
        var (shared, state) = Stepped(plan, counted, finished.Job, serverOptimizer);
        return new CohortAggregate
        {
            Refused = refused,
            Shared = shared,
            ServerOptimizer = state,
            Coherence = finished.Job.Coherence,
            Curbed = new SortedDictionary<string, string>(
                finished.Curbed.ToDictionary(curbed => closed[curbed.Key], static curbed => curbed.Value), StringComparer.Ordinal),
            Tasks = new SortedDictionary<string, TaskAggregate>(
                tasks.ToDictionary(static task => task.Key, task => OfTask(task.Key, task.Value), StringComparer.Ordinal),
                StringComparer.Ordinal),
        };

        TaskAggregate OfTask(string task, TaskStart start)
        {
            if (finished.Kept.TryGetValue(task, out var reason)) return new(null, null, null, reason);
            var (moved, remembered) = Stepped(plan, start.Shared, finished.Tasks[task], start.ServerOptimizer);
            return new(moved, remembered, finished.Tasks[task].Coherence, null);
        }

        // What is made of an update is done in the order of the cohort.
        async Task PassAsync(bool adds, Action<int, CohortParts.Addition, AdapterState?> make)
        {
            var turns = new Turns(closed.Count);
            var readers = Math.Min(closed.Count, Math.Min(MostReaders, Environment.ProcessorCount));
            await Task.WhenAll(Enumerable.Range(0, readers).Select(_ => Task.Run(TakeSomeAsync, cancellationToken)));

            async Task TakeSomeAsync()
            {
                using var stream = new UpdateStream(parts, statistics, adds);
                while (turns.Next() is { } turn)
                {
                    using (turn)
                    {
                        cancellationToken.ThrowIfCancellationRequested();
                        var (addition, whole, problem) = await TakeAsync(stream, turn);
                        await turn.Before().WaitAsync(cancellationToken);
                        if (problem is not null)
                            refused.Add(closed[turn.Number], problem);
                        else if (refused.Count == 0)
                            make(turn.Number, addition!, whole);
                    }
                }
            }
        }

        async Task<(CohortParts.Addition? Addition, AdapterState? Whole, string? Problem)> TakeAsync(UpdateStream stream, Turn turn)
        {
            var client = closed[turn.Number];
            var discounts = parts.DiscountsOf(turn.Number, client, staleness?[turn.Number] ?? 0);
            try
            {
                await using var reader = await open(client, cancellationToken);
                return await stream.TakeAsync(turn, reader, discounts, cancellationToken);
            }
            catch (BadInputException e)
            {
                return (null, null, e.Message);
            }
        }
    }

    private static (AdapterState State, AdapterState? Remembered) Stepped(
        FederationPlan plan, AdapterState before, AggregateUpdate aggregate, AdapterState? remembered)
    {
        var (after, state) = StrategyRegistry.ServerOptimizer(plan).Step(before, aggregate.Update, remembered);
        if (UpdateCheck.Find(AdapterShapes.Of(before), after) is { } broken)
            throw new InvalidOperationException($"The new shared state is not usable: {broken}");
        return state is not null && UpdateCheck.Find(AdapterShapes.Of(state), state) is { } overflown
            ? throw new InvalidOperationException($"What the server optimizer remembers is not usable: {overflown}")
            : (after, state);
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Aggregation;

/// <summary>From updates to the next shared state: a few are read at the same time, each is added in its turn.</summary>
public static class CohortAggregator
{
    private const int MostReaders = 4;
    private const long MostBytes = 1 << 27;

    /// <summary>
    /// Reads each update once and adds it in the order of <paramref name="closed"/>; all of them are checked even after one is
    /// refused. Memory is the accumulator and a few updates, however large the cohort, unless the rule keeps them.
    /// </summary>
    /// <param name="plan">The plan.</param>
    /// <param name="round">The round, which says what moves.</param>
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="serverOptimizer">The server optimizer's state; null at the start.</param>
    /// <param name="closed">The closed cohort in ordinal order.</param>
    /// <param name="reports">Reports of the cohort.</param>
    /// <param name="read">Reads a client's update, into the arrays of one that nobody uses any more if there is one; a
    /// <see cref="Abstractions.BadInputException"/> refuses it.</param>
    /// <param name="staleness">Rounds since each client's base version, in the order of <paramref name="closed"/>; null for none.</param>
    /// <param name="tasks">What the clients of each task started from; null where no tensor has scope Task.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="InvalidOperationException">The new shared state is not finite.</exception>
    public static Task<CohortAggregate> RunAsync(
        FederationPlan plan, int round, AdapterState global, AdapterState? serverOptimizer, IReadOnlyList<string> closed,
        IReadOnlyDictionary<string, KeptReport> reports,
        Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read, IReadOnlyList<int>? staleness = null,
        IReadOnlyDictionary<string, TaskStart>? tasks = null, CancellationToken cancellationToken = default) =>
        RunAsync(
            StrategyRegistry.Aggregation(plan), plan, round, global, serverOptimizer, closed, reports, read, staleness, tasks,
            cancellationToken);

    /// <summary>The same by <paramref name="rule"/>, which may be another than the plan's.</summary>
    /// <inheritdoc cref="RunAsync(FederationPlan, int, AdapterState, AdapterState, IReadOnlyList{string},
    /// IReadOnlyDictionary{string, KeptReport}, Func{string, AdapterState, CancellationToken, Task{AdapterState}}, IReadOnlyList{int},
    /// IReadOnlyDictionary{string, TaskStart}, CancellationToken)"/>
    public static async Task<CohortAggregate> RunAsync(
        IAggregationRule rule, FederationPlan plan, int round, AdapterState global, AdapterState? serverOptimizer,
        IReadOnlyList<string> closed, IReadOnlyDictionary<string, KeptReport> reports,
        Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read, IReadOnlyList<int>? staleness = null,
        IReadOnlyDictionary<string, TaskStart>? tasks = null, CancellationToken cancellationToken = default)
    {
        tasks ??= new Dictionary<string, TaskStart>();
        var moving = new MovingTensors(plan, round);
        var parts = new CohortParts(plan, rule, moving, global, tasks, closed, reports, staleness);
        if (parts.TooFew is { } tooFew)
            return new CohortAggregate { Refused = new Dictionary<string, string>(), TooFew = tooFew };

        var statistics = new StatisticSums(plan, global);
        var refused = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var turns = new Turns(closed.Count);
        var size = global.SizeBytes + tasks.Values.Select(static task => task.Shared.SizeBytes).DefaultIfEmpty().Max();
        var readers = Math.Min(
            closed.Count, Math.Clamp((int)(MostBytes / Math.Max(1, size)), 1, Math.Min(MostReaders, Environment.ProcessorCount)));
        await Task.WhenAll(Enumerable.Range(0, readers).Select(_ => Task.Run(ReadSomeAsync, cancellationToken)));
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

        async Task ReadSomeAsync()
        {
            AdapterState? last = null;
            while (turns.Next() is { } turn)
            {
                using (turn)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var client = closed[turn.Number];
                    var (whole, problem) = await ReadAsync(client, last, read, cancellationToken);
                    var (update, sent, wrong) = statistics.Split(whole);
                    problem ??= UpdateCheck.Find(parts.ShapesOf(turn.Number), update) ?? wrong;
                    if (problem is null) parts.Discount(turn.Number, client, update, staleness?[turn.Number] ?? 0);
                    var addition = problem is null ? parts.Cut(turn.Number, update) : null;
                    await turn.Before.WaitAsync(cancellationToken);
                    if (problem is not null)
                        refused.Add(client, problem);
                    else if (refused.Count == 0)
                    {
                        parts.Add(addition!);
                        statistics.Add(sent);
                    }

                    last = rule.KeepsUpdates ? null : whole;
                }
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

    private static async Task<(AdapterState Update, string? Problem)> ReadAsync(
        string client, AdapterState? last, Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read,
        CancellationToken cancellationToken)
    {
        try
        {
            return (await read(client, last, cancellationToken), null);
        }
        catch (Abstractions.BadInputException e)
        {
            return (AdapterState.Empty, e.Message);
        }
    }

    /// <summary>Hands out numbers in order; a turn knows when the one before it is over, however that ended.</summary>
    private sealed class Turns(int count)
    {
        private readonly Lock _gate = new();
        private Task _last = Task.CompletedTask;
        private int _next;

        public Turn? Next()
        {
            lock (_gate)
            {
                if (_next == count)
                    return null;
                var turn = new Turn(_next++, _last);
                _last = turn.Over;
                return turn;
            }
        }
    }

    private sealed class Turn(int number, Task before) : IDisposable
    {
        private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Number => number;

        public Task Before => before;

        public Task Over => _over.Task;

        public void Dispose() => _over.SetResult();
    }
}

using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;
using FedRLora.Federation.ServerOptimizers;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// What became of a closed cohort: a new shared state, the updates that cannot be used, or that there are too few of them.
/// </summary>
public sealed record CohortAggregate
{
    /// <summary>Why updates were refused, by client; where there are any, there is nothing else.</summary>
    public required IReadOnlyDictionary<string, string> Refused { get; init; }

    /// <summary>
    /// Why the rule cannot work with so few updates, in one line; where it is given, nothing was read and there is nothing else.
    /// </summary>
    public string? TooFew { get; init; }

    /// <summary>The new shared state; null where updates were refused or are too few.</summary>
    public AdapterState? Shared { get; init; }

    /// <summary>The server optimizer's new state; null where the rule remembers nothing.</summary>
    public AdapterState? ServerOptimizer { get; init; }

    /// <summary>Agreement of the updates; null where nothing has a length.</summary>
    public double? Coherence { get; init; }

    /// <summary>Clients whose updates the rule left out or shortened, and why in a few words.</summary>
    public IReadOnlyDictionary<string, string> Curbed { get; init; } = new SortedDictionary<string, string>(StringComparer.Ordinal);
}

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
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="serverOptimizer">The server optimizer's state; null at the start.</param>
    /// <param name="closed">The closed cohort in ordinal order.</param>
    /// <param name="reports">Reports of the cohort.</param>
    /// <param name="read">Reads a client's update, into the arrays of one that nobody uses any more if there is one; a
    /// <see cref="Abstractions.BadInputException"/> refuses it.</param>
    /// <param name="staleness">Rounds since each client's base version, in the order of <paramref name="closed"/>; null for none.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="InvalidOperationException">The new shared state is not finite.</exception>
    public static Task<CohortAggregate> RunAsync(
        FederationPlan plan, AdapterState global, AdapterState? serverOptimizer, IReadOnlyList<string> closed,
        IReadOnlyDictionary<string, KeptReport> reports,
        Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read, IReadOnlyList<int>? staleness = null,
        CancellationToken cancellationToken = default) =>
        RunAsync(
            StrategyRegistry.Aggregation(plan, closed), plan, global, serverOptimizer, closed, reports, read, staleness, cancellationToken);

    /// <summary>The same by <paramref name="rule"/>, which may be another than the plan's.</summary>
    /// <inheritdoc cref="RunAsync(FederationPlan, AdapterState, AdapterState, IReadOnlyList{string},
    /// IReadOnlyDictionary{string, KeptReport}, Func{string, AdapterState, CancellationToken, Task{AdapterState}}, IReadOnlyList{int},
    /// CancellationToken)"/>
    public static async Task<CohortAggregate> RunAsync(
        IAggregationRule rule, FederationPlan plan, AdapterState global, AdapterState? serverOptimizer, IReadOnlyList<string> closed,
        IReadOnlyDictionary<string, KeptReport> reports,
        Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read, IReadOnlyList<int>? staleness = null,
        CancellationToken cancellationToken = default)
    {
        if (rule.TooFew(closed.Count) is { } tooFew)
            return new CohortAggregate { Refused = new Dictionary<string, string>(), TooFew = tooFew };

        var shapes = AdapterShapes.Of(global);
        var sum = rule.Begin(shapes);
        var weights = Weights.Of(plan, closed, reports, staleness);
        var refused = new SortedDictionary<string, string>(StringComparer.Ordinal);

        var turns = new Turns(closed.Count);
        var readers = Math.Min(
            closed.Count,
            Math.Clamp((int)(MostBytes / Math.Max(1, global.SizeBytes)), 1, Math.Min(MostReaders, Environment.ProcessorCount)));
        await Task.WhenAll(Enumerable.Range(0, readers).Select(_ => Task.Run(ReadSomeAsync, cancellationToken)));
        if (refused.Count > 0)
            return new CohortAggregate { Refused = refused };

        var aggregate = sum.Finish();
        var (shared, state) = StrategyRegistry.ServerOptimizer(plan).Step(global, aggregate.Update, serverOptimizer);
        if (UpdateCheck.Find(shapes, shared) is { } broken)
            throw new InvalidOperationException($"The new shared state is not usable: {broken}");
        return new CohortAggregate
        {
            Refused = refused,
            Shared = shared,
            ServerOptimizer = state,
            Coherence = aggregate.Coherence,
            Curbed = new SortedDictionary<string, string>(
                aggregate.Curbed.ToDictionary(curbed => closed[curbed.Key], static curbed => curbed.Value), StringComparer.Ordinal),
        };

        async Task ReadSomeAsync()
        {
            AdapterState? last = null;
            while (turns.Next() is { } turn)
            {
                using (turn)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var client = closed[turn.Number];
                    var (update, problem) = await ReadAsync(shapes, client, last, read, cancellationToken);
                    if (problem is null && Weights.Discount(plan, staleness?[turn.Number] ?? 0) is < 1 and var discount)
                        Scale(update, (float)discount);
                    var length = problem is null ? UpdateCheck.Length(update) : 0;
                    await turn.Before.WaitAsync(cancellationToken);
                    if (problem is not null)
                        refused.Add(client, problem);
                    else if (refused.Count == 0)
                        sum.Add(update, weights[turn.Number], length);
                    last = rule.KeepsUpdates ? null : update;
                }
            }
        }
    }

    private static async Task<(AdapterState Update, string? Problem)> ReadAsync(
        AdapterShapes shapes, string client, AdapterState? last, Func<string, AdapterState?, CancellationToken, Task<AdapterState>> read,
        CancellationToken cancellationToken)
    {
        try
        {
            var update = await read(client, last, cancellationToken);
            return (update, UpdateCheck.Find(shapes, update));
        }
        catch (Abstractions.BadInputException e)
        {
            return (AdapterState.Empty, e.Message);
        }
    }

    private static void Scale(AdapterState update, float factor)
    {
        foreach (var (_, array) in update)
            System.Numerics.Tensors.TensorPrimitives.Multiply(array.Data, factor, array.Data);
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

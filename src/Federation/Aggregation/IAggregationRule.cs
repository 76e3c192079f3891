using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>How the updates of a closed cohort become one.</summary>
public interface IAggregationRule
{
    /// <summary>An empty accumulator for updates of these names and shapes.</summary>
    IAccumulator Begin(AdapterShapes shapes);

    /// <summary>
    /// An empty accumulator for updates of these names and shapes that come piece by piece; null where the rule has to have each whole.
    /// </summary>
    IPieceAccumulator? BeginPieces(AdapterShapes shapes) => null;

    /// <summary>Whether the lengths of all updates must be known before a piece of one is added, so that each is read twice.</summary>
    bool NeedsLengths => false;

    /// <summary>Whether the accumulators of <see cref="Begin"/> hold on to the updates they are given, as a median must.</summary>
    bool KeepsUpdates => false;

    /// <summary>Whether accumulators of two sites can become one; not where the rule has to see every update.</summary>
    bool CanMerge => !KeepsUpdates;

    /// <summary>Why the rule cannot keep its promise with this many updates, in one line; null where it can.</summary>
    string? TooFew(int updates) => null;
}

/// <summary>Takes updates one at a time in client-id order; memory does not grow with their number, unless the rule keeps them.</summary>
public interface IAccumulator
{
    /// <summary>
    /// Adds an update that <see cref="UpdateCheck"/> has passed. Where the rule <see cref="IAggregationRule.KeepsUpdates"/>, its arrays are
    /// the accumulator's from then on.
    /// </summary>
    /// <param name="update">After minus before.</param>
    /// <param name="weight">Its share, positive; shares need not add up to one.</param>
    void Add(AdapterState update, double weight) => Add(update, weight, UpdateCheck.Length(update));

    /// <inheritdoc cref="Add(AdapterState, double)"/>
    /// <param name="update">After minus before.</param>
    /// <param name="weight">Its share, positive; shares need not add up to one.</param>
    /// <param name="length"><see cref="UpdateCheck.Length"/> of the update, which need not wait for its turn.</param>
    void Add(AdapterState update, double weight, double length);

    /// <summary>Adds what another accumulator of the same rule and shapes holds; call in site-id order.</summary>
    /// <exception cref="NotSupportedException">The rule says that it <see cref="IAggregationRule.CanMerge">cannot</see>.</exception>
    void Merge(IAccumulator other);

    /// <summary>The aggregate, rounded once to float32.</summary>
    /// <exception cref="InvalidOperationException">Nothing was added, or <see cref="IAggregationRule.TooFew"/>.</exception>
    AggregateUpdate Finish();
}

/// <summary>
/// Takes updates piece by piece. Calls for different elements may come at the same time; those for one element come in client-id order.
/// </summary>
public interface IPieceAccumulator
{
    /// <summary>The <see cref="UpdateCheck.Length"/> of every update in its order; called first, where the rule needs them.</summary>
    void Measured(IReadOnlyList<double> lengths);

    /// <summary>Adds elements of an update. What <see cref="UpdateCheck"/> then finds wrong with the rest makes all of it void.</summary>
    /// <param name="place">The update's place in the order.</param>
    /// <param name="name">The tensor.</param>
    /// <param name="start">The first element, a multiple of 4,096.</param>
    /// <param name="values">The elements.</param>
    /// <param name="weight">The update's share, positive; shares need not add up to one.</param>
    void Add(int place, string name, int start, ReadOnlySpan<float> values, double weight);

    /// <summary>Says that all of an update was added; in client-id order.</summary>
    /// <param name="weight">Its share.</param>
    /// <param name="length">Its <see cref="UpdateCheck.Length"/>.</param>
    void Added(double weight, double length);

    /// <inheritdoc cref="IAccumulator.Finish"/>
    AggregateUpdate Finish();
}

/// <summary>An aggregate.</summary>
/// <param name="Update">The aggregate update.</param>
/// <param name="Coherence">Length of the aggregate over the weighted mean length of the updates, all tensors as one vector. For a
/// mean: |sum p_k x_k| / sum p_k |x_k|, which is 1 where all clients agree and 1/sqrt(K) where K directions are unrelated. Null where
/// no update has a length.</param>
public sealed record AggregateUpdate(AdapterState Update, double? Coherence)
{
    /// <summary>
    /// Updates that the rule left out or shortened, and why in a few words; by their place in the order in which they were added.
    /// </summary>
    public IReadOnlyDictionary<int, string> Curbed { get; init; } = new Dictionary<int, string>();
}

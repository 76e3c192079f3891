using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>An update as it was added.</summary>
/// <param name="Update">After minus before.</param>
/// <param name="Weight">Its share; positive.</param>
/// <param name="Length">Its <see cref="UpdateCheck.Length"/>.</param>
internal readonly record struct KeptUpdate(AdapterState Update, double Weight, double Length);

/// <summary>What a rule made of all updates, and which of them it curbed.</summary>
internal readonly record struct Reduced(AdapterState Update, IReadOnlyDictionary<int, string>? Curbed = null);

/// <summary>The accumulator of every rule that has to see all updates: keeps them and reduces them at the end.</summary>
internal sealed class KeptUpdates(AdapterShapes shapes, Func<AdapterShapes, IReadOnlyList<KeptUpdate>, Reduced> reduce) : IAccumulator
{
    private readonly List<KeptUpdate> _kept = [];

    public void Add(AdapterState update, double weight, double length) => _kept.Add(new(update, weight, length));

    public void Merge(IAccumulator other) =>
        throw new NotSupportedException("The rule has to see every update, so a site's part of them cannot be merged.");

    public AggregateUpdate Finish()
    {
        if (_kept.Count == 0)
            throw new InvalidOperationException("An aggregate needs at least one update.");
        if (shapes.Count == 0)
            return new AggregateUpdate(AdapterState.Empty, null);

        var reduced = reduce(shapes, _kept);
        var (weight, weightedLength) = (0.0, 0.0);
        foreach (var kept in _kept)
            (weight, weightedLength) = (weight + kept.Weight, weightedLength + (kept.Weight * kept.Length));
        var mean = weightedLength / weight;
        return new AggregateUpdate(reduced.Update, mean > 0 ? UpdateCheck.Length(reduced.Update) / mean : null)
        {
            Curbed = reduced.Curbed ?? new Dictionary<int, string>(),
        };
    }
}

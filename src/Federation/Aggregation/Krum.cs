using System.Globalization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The one update that is nearest to the K - f - 2 others nearest to it, by squared L2 distances over all tensors together
/// (Blanchard et al., NeurIPS 2017, arXiv 1703.02757). Of equal scores the first client counts. Unweighted by design.
/// </summary>
internal sealed class Krum(AggregationSpec spec) : IAggregationRule
{
    public bool KeepsUpdates => true;

    public string? TooFew(int updates) => TooFewUpdates.For(spec, updates);

    public IAccumulator Begin(AdapterShapes shapes) => new KeptUpdates(shapes, (_, updates) =>
    {
        TooFewUpdates.Throw(spec, updates.Count);
        var ranked = Ranked(updates, spec.Byzantine ?? 0);
        return new Reduced(updates[ranked[0].Index].Update, LeftOut(ranked, 1));
    });

    /// <summary>The updates from the lowest to the highest score; equal scores in client order.</summary>
    internal static IReadOnlyList<(int Index, double Score)> Ranked(IReadOnlyList<KeptUpdate> updates, int byzantine)
    {
        var distances = Distances.Between(updates);
        var nearest = updates.Count - byzantine - 2;
        return [.. Enumerable.Range(0, updates.Count)
            .Select(i => (Index: i, Score: Nearest(i)))
            .OrderBy(static update => update.Score).ThenBy(static update => update.Index)];

        double Nearest(int i) =>
            Enumerable.Range(0, updates.Count).Where(j => j != i).Select(j => distances[i, j]).Order().Take(nearest).Sum();
    }

    /// <summary>Why all but the first <paramref name="kept"/> do not count.</summary>
    internal static Dictionary<int, string> LeftOut(IReadOnlyList<(int Index, double Score)> ranked, int kept) =>
        ranked.Skip(kept).ToDictionary(static update => update.Index, update => string.Create(CultureInfo.InvariantCulture,
            $"left out: its squared distance to its neighbours is {update.Score:G3}, "
            + $"{(kept == 1 ? "that of the update taken" : "the most among those taken")} {ranked[kept - 1].Score:G3}"));
}

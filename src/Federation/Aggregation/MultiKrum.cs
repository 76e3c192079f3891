using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The plain mean of the m updates with the lowest scores of <see cref="Krum"/>, at most K - f - 2 (Blanchard et al., NeurIPS 2017,
/// arXiv 1703.02757). Unweighted by design.
/// </summary>
internal sealed class MultiKrum(AggregationSpec spec) : IAggregationRule
{
    public bool KeepsUpdates => true;

    public string? TooFew(int updates) => TooFewUpdates.For(spec, updates);

    public IAccumulator Begin(AdapterShapes shapes) => new KeptUpdates(shapes, (shapes, updates) =>
    {
        TooFewUpdates.Throw(spec, updates.Count);
        var byzantine = spec.Byzantine ?? 0;
        var keep = spec.Keep ?? updates.Count - byzantine - 2;
        var ranked = Krum.Ranked(updates, byzantine);
        var kept = ranked.Take(keep).Select(static update => update.Index).Order();   // added in client order, whatever their rank
        return new Reduced(Mean.Of(shapes, kept.Select(index => (updates[index].Update, 1.0))), Krum.LeftOut(ranked, keep));
    });
}

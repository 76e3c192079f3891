using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The point z with the least weighted sum of distances to the updates, by the smoothed Weiszfeld steps of RFA (Pillutla et al., IEEE
/// TSP 2022, arXiv 1912.13445): w_i = p_i / max(nu, |z - x_i|), z = sum w x / sum w, from the mean on. Uses the clients' weights.
/// </summary>
/// <param name="iterations">The most steps; it stops before them when a step no longer moves z.</param>
internal sealed class GeometricMedian(int iterations) : IAggregationRule
{
    private const double Nu = 1e-6;
    private const double Still = 1e-6;

    public bool KeepsUpdates => true;

    public IAccumulator Begin(AdapterShapes shapes) => new KeptUpdates(shapes, (shapes, updates) =>
    {
        // z is rounded to float32 between steps: the weights do not notice, and the last step is rounded once.
        var z = Mean.Of(shapes, updates.Select(static kept => (kept.Update, kept.Weight)));
        for (var step = 0; step < iterations; step++)
        {
            var before = z;
            var distances = new double[updates.Count];
            Parallel.For(0, updates.Count, i => distances[i] = Math.Sqrt(Distances.Squared(before, updates[i].Update)));
            z = Mean.Of(shapes, updates.Select((kept, i) => (kept.Update, kept.Weight / Math.Max(Nu, distances[i]))));
            // Compared with a typical distance, not with their mean, which one long update would stretch.
            if (Distances.Squared(before, z) <= Math.Pow(Still * Math.Max(Nu, Middle(distances)), 2))
                break;
        }

        return new Reduced(z);
    });

    private static double Middle(double[] distances)
    {
        Array.Sort(distances);
        return distances[(distances.Length - 1) / 2];
    }
}

using System.Globalization;
using System.Numerics.Tensors;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// The statistics of a cohort: summed in its order in float64, without weights, discounts or the rule, and rounded once. What becomes of
/// the sum is the family's to say.
/// </summary>
internal sealed class StatisticSums
{
    private const int Block = 4096; // widened at a time
    private const double Slack = 1e-5; // of norms that a client has computed in float32

    private readonly int _clients;
    private readonly List<(string Name, NamedArray Before, StatisticFamily Family)> _declared;
    private readonly Dictionary<string, double[]> _sums;
    private readonly Dictionary<string, IReadOnlyList<long>> _shapes;

    /// <summary>Nothing is added yet.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="shared">The shared state, which declares each vector.</param>
    public StatisticSums(FederationPlan plan, AdapterState shared)
    {
        _clients = plan.Clients.Count;
        var families = plan.StatisticFamilies;
        _declared = [.. from array in shared
                        from family in families
                        where family.Has(array.Key)
                        select (array.Key, array.Value, family)];
        _shapes = _declared.ToDictionary(static one => one.Name, static one => one.Before.Shape, StringComparer.Ordinal);
        _sums = _declared.ToDictionary(
            static one => one.Name, static one => new double[one.Before.Data.Length], StringComparer.Ordinal);
    }

    /// <summary>The shape that a statistic is declared with; null where it is not.</summary>
    public IReadOnlyList<long>? ShapeOf(string name) => _shapes.GetValueOrDefault(name);

    /// <summary>Adds elements of an update's statistic; for each element in the order of the cohort.</summary>
    /// <param name="name">The statistic, which is declared.</param>
    /// <param name="start">The first element.</param>
    /// <param name="values">The elements.</param>
    public void AddPiece(string name, int start, ReadOnlySpan<float> values)
    {
        Span<double> wide = stackalloc double[Math.Min(Block, values.Length)];
        for (; !values.IsEmpty; start += Block)
        {
            var block = wide[..Math.Min(Block, values.Length)];
            TensorPrimitives.ConvertTruncating<float, double>(values[..block.Length], block);
            var target = _sums[name].AsSpan(start, block.Length);
            TensorPrimitives.Add(target, block, target);
            values = values[block.Length..];
        }
    }

    /// <summary>Why the statistics of an update cannot be used, in one line; null where they can.</summary>
    public string? ProblemOf(UpdateScan update)
    {
        foreach (var (name, _, family) in _declared)
        {
            if (!update.Has(name)) return $"The update has no {name}.";
            if (update.ProblemOf(name) is { } problem) return problem;
            var norm = update.Length([name]);
            if (family.Clip is { } clip && norm > clip * (1 + Slack))
            {
                return string.Create(
                    CultureInfo.InvariantCulture, $"{name} has norm {norm:G6}, which its site clips to {clip}: is it of another plan?");
            }
        }

        var extra = update.Names.Where(name => StatisticFamily.IsStatistic(name) && !_sums.ContainsKey(name)).Min(StringComparer.Ordinal);
        return extra is null ? null : $"The update has {extra}, which the shared state does not declare.";
    }

    /// <summary>The statistics as they are after the round, by name.</summary>
    public IReadOnlyDictionary<string, NamedArray> Finish() => _declared.ToDictionary(static one => one.Name, one =>
    {
        var (sum, rounded) = (_sums[one.Name], new float[one.Before.Data.Length]);
        if (one.Family.IsCarried)
        {
            var before = new double[sum.Length];
            TensorPrimitives.ConvertTruncating<float, double>(one.Before.Data, before);
            TensorPrimitives.Divide(sum, _clients, sum);
            TensorPrimitives.Add(before, sum, sum);
        }

        TensorPrimitives.ConvertTruncating<double, float>(sum, rounded);
        return one.Before with { Data = rounded };
    }, StringComparer.Ordinal);
}

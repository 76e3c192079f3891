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
    private const double Slack = 1e-5; // of norms that a client has computed in float32

    private readonly int _clients;
    private readonly List<(string Name, NamedArray Before, StatisticFamily Family)> _declared;
    private readonly Dictionary<string, double[]> _sums;

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
        _sums = _declared.ToDictionary(
            static one => one.Name, static one => new double[one.Before.Data.Length], StringComparer.Ordinal);
    }

    /// <summary>What an update holds beside its tensors, and why that cannot be used, in one line; null where it can.</summary>
    public (AdapterState Tensors, AdapterState Statistics, string? Problem) Split(AdapterState update)
    {
        if (_declared.Count == 0 && !update.Keys.Any(StatisticFamily.IsStatistic)) return (update, AdapterState.Empty, null);
        var parts = update.ToLookup(static array => StatisticFamily.IsStatistic(array.Key));
        var statistics = new AdapterState(parts[true]);
        return (new(parts[false]), statistics, ProblemOf(statistics));
    }

    /// <summary>Adds the statistics of an update; in the order of the cohort.</summary>
    public void Add(AdapterState statistics)
    {
        foreach (var (name, sum) in _sums)
        {
            var wide = new double[sum.Length];
            TensorPrimitives.ConvertTruncating<float, double>(statistics[name].Data, wide);
            TensorPrimitives.Add(sum, wide, sum);
        }
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

    private string? ProblemOf(AdapterState statistics)
    {
        foreach (var (name, before, family) in _declared)
        {
            if (!statistics.TryGetValue(name, out var array)) return $"The update has no {name}.";
            if (UpdateCheck.Find(name, before.Shape, array) is { } problem) return problem;
            var norm = UpdateCheck.Length(new([KeyValuePair.Create(name, array)]));
            if (family.Clip is { } clip && norm > clip * (1 + Slack))
            {
                return string.Create(
                    CultureInfo.InvariantCulture, $"{name} has norm {norm:G6}, which its site clips to {clip}: is it of another plan?");
            }
        }

        var extra = statistics.Keys.FirstOrDefault(name => !_sums.ContainsKey(name));
        return extra is null ? null : $"The update has {extra}, which the shared state does not declare.";
    }
}

using System.Globalization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Aggregation;

/// <summary>The bound of a rule on the number of updates, in words.</summary>
internal static class TooFewUpdates
{
    /// <summary>
    /// Why <paramref name="updates"/> are too few, for example <c>krum with byzantine: 2 needs at least 7 updates, there are 5.</c>
    /// </summary>
    public static string? For(AggregationSpec spec, int updates) => updates >= spec.Fewest ? null
        : string.Create(CultureInfo.InvariantCulture, $"{spec.Need}, {(updates == 1 ? "there is 1" : $"there are {updates}")}.");

    /// <summary>Stops an aggregation that nobody has checked.</summary>
    public static void Throw(AggregationSpec spec, int updates)
    {
        if (For(spec, updates) is { } reason)
            throw new InvalidOperationException(reason);
    }
}

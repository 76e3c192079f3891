namespace FedRLora.Abstractions.Plans;

/// <summary>
/// Named vectors that a client's update carries beside what training changed, and the shared state beside its tensors. The coordinator
/// adds those of a cohort up by name, and hands the sum back with the next round; nobody on the way knows what they mean. They are
/// functions of many rows, clipped at the site, never rows.
/// </summary>
/// <param name="Name">Of the family.</param>
/// <param name="Clip">The largest norm that one vector of a client may have; null where it is bounded by what it is.</param>
/// <param name="IsCarried">
/// The sum over the cohort, divided by the number of all clients of the plan, is added to what was; else the sum stands in its place.
/// </param>
public sealed record StatisticFamily(string Name, double? Clip, bool IsCarried)
{
    /// <summary>What the names of statistics begin with in an update and in a shared state: no tensor's does.</summary>
    public const string Prefix = "statistics/";

    /// <summary>A vector's name.</summary>
    /// <param name="what">Which of the family.</param>
    public string NameOf(string what) => $"{Prefix}{Name}/{what}";

    /// <summary>Whether a name is that of a statistic.</summary>
    public static bool IsStatistic(string name) => name.StartsWith(Prefix, StringComparison.Ordinal);

    /// <summary>Whether a name is one of the family.</summary>
    public bool Has(string name) => name.StartsWith($"{Prefix}{Name}/", StringComparison.Ordinal);
}

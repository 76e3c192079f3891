namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>Bounds that values of several sections share.</summary>
internal static class Bounds
{
    /// <summary>Characters of a path.</summary>
    public const int PathLength = 1024;

    /// <summary>Rounds of a run, and steps of a client in one.</summary>
    public const int Rounds = 100_000;

    /// <summary>Clients of a plan, and numbers that need a bound only to be finite.</summary>
    public const int Many = 1_000_000;

    /// <summary>The longest time that is waited for anything.</summary>
    public static readonly TimeSpan Wait = TimeSpan.FromDays(30);
}

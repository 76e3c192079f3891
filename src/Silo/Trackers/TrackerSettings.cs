namespace FedRLora.Silo.Trackers;

/// <summary>How long a sender of points waits for what.</summary>
internal sealed record TrackerSettings
{
    /// <summary>Time between two looks at what was committed.</summary>
    public TimeSpan LookEvery { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a tracker may think.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Before a tracker that is away is asked again; it doubles up to <see cref="LongestPause"/>.</summary>
    public TimeSpan FirstPause { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>The bound of pauses of a tracker that is away.</summary>
    public TimeSpan LongestPause { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The pause where somebody has to do something first, and the longest that a tracker may ask for.</summary>
    public TimeSpan PauseForSomebody { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long the end of the host may wait for the tracker, and then for the count of what it did not get.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(1.2);

    /// <inheritdoc cref="Patience"/>
    public TimeSpan CountPatience { get; init; } = TimeSpan.FromSeconds(0.3);

    /// <summary>After how long a trouble that lasts is said again.</summary>
    public TimeSpan SayAgainAfter { get; init; } = TimeSpan.FromMinutes(10);
}

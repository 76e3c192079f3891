namespace FedRLora.ControlPlane.Events;

/// <summary>How much a feed remembers and waits.</summary>
public sealed record FeedSettings
{
    /// <summary>How long a question to the coordinator waits for news.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long an answer may take beyond that before the coordinator is taken for lost.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time between two questions to a coordinator that does not answer.</summary>
    public TimeSpan Pause { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Events that are kept for listeners that come back.</summary>
    public int History { get; init; } = 500;

    /// <summary>
    /// Bytes of events that are kept for listeners that come back, and that one listener may have before it; one event always.
    /// </summary>
    public long Bytes { get; init; } = 16 << 20;

    /// <summary>Events that a listener may have before it; one that is slower gets a snapshot in their place.</summary>
    public int Pending { get; init; } = 256;

    /// <summary>Rounds that a listener which comes back is told one by one; one that missed more gets a snapshot.</summary>
    public int RoundsBehind { get; init; } = 200;

    /// <summary>After how much silence a listener gets a ping.</summary>
    public TimeSpan PingAfter { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long a feed goes on after its last listener.</summary>
    public TimeSpan Warm { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How long to wait for a coordinator's first answer.</summary>
    public TimeSpan FirstAnswer { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Of a listener that listens to so many runs: what may be before it in each.</summary>
    internal FeedSettings SharedBy(int runs) => this with { Bytes = Bytes / runs, Pending = Math.Max(8, Pending / runs) };
}

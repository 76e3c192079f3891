namespace FedRLora.Silo.Storage;

/// <summary>How long a store is waited for, and in which pieces it is read and written.</summary>
public sealed record AzureStoreOptions
{
    /// <summary>
    /// How long one request is tried, with all its retries. A large blob is many requests: a transfer that gets on is never cut,
    /// one that stands still is over within this time.
    /// </summary>
    public TimeSpan Budget { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long one try may hang before its connection is cut and the next try begins; a block must pass in this time.</summary>
    public TimeSpan NetworkTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>The pause before the first retry; later ones double it, up to <see cref="LongestDelay"/>, each with jitter.</summary>
    public TimeSpan FirstDelay { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>The longest pause between two tries.</summary>
    public TimeSpan LongestDelay { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Bytes of a block, the memory that an open reader or writer holds; content that fits in one is one request.</summary>
    public int BlockBytes { get; init; } = 4 << 20;

    /// <summary>Most keys that one request lists.</summary>
    public int KeysPerPage { get; init; } = 5_000;
}

namespace FedRLora.Silo.Trackers;

/// <summary>What a tracker did not do, and when it may be asked again.</summary>
/// <param name="message">Why, in one line.</param>
internal sealed class TrackerTroubleException(string message) : Exception(message)
{
    /// <summary>Whether what was sent will never be taken.</summary>
    public bool IsRefusal { get; init; }

    /// <summary>Whether nothing changes before somebody does something about it.</summary>
    public bool NeedsSomebody { get; init; }

    /// <summary>MLflow's name of the error.</summary>
    public string? Code { get; init; }

    /// <summary>When the tracker wants to be asked again.</summary>
    public TimeSpan? After { get; init; }
}

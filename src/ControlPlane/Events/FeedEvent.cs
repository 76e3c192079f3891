using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Events;

/// <summary>One event of a run as listeners get it.</summary>
/// <param name="Id">
/// <see cref="RunPosition"/> as text: what to name to hear what comes after it; null where it changes nothing of that.
/// </param>
/// <param name="Type">One of <see cref="FeedEvents"/>.</param>
/// <param name="Json">Its content, shared by all listeners.</param>
public sealed record FeedEvent(string? Id, string Type, byte[] Json)
{
    /// <summary>Of a stream of several runs: whose it is; null where it is of none.</summary>
    public string? Run { get; init; }
}

/// <summary>What events are called.</summary>
public static class FeedEvents
{
    /// <summary>A round was committed: a line of metrics.jsonl.</summary>
    public const string Round = "round";

    /// <summary>The run stands elsewhere: a <see cref="Views.RunState"/>.</summary>
    public const string State = "state";

    /// <summary>Clients do something else: <see cref="Views.ClientChanges"/>.</summary>
    public const string Clients = "clients";

    /// <summary>All of it, in the place of what happened before: a <see cref="Views.RunView"/>.</summary>
    public const string Snapshot = "snapshot";

    /// <summary>Nothing has happened, and the stream is alive.</summary>
    public const string Ping = "ping";

    /// <summary>Of several runs: one does not exist, and nothing comes of it.</summary>
    public const string Gone = "gone";

    /// <summary>Of several runs: the coordinator of one has never answered; it is asked again.</summary>
    public const string Away = "away";
}

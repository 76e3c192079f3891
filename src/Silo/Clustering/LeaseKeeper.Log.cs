using Microsoft.Extensions.Logging;

namespace FedRLora.Silo.Clustering;

public sealed partial class LeaseKeeper
{
    [LoggerMessage(501, LogLevel.Information, "The store {Store} is taken, term {Term}")]
    private partial void LogTaken(string store, long term);

    [LoggerMessage(502, LogLevel.Information, "The store {Store} is this cluster's, term {Term}")]
    private partial void LogEntered(string store, long term);

    [LoggerMessage(503, LogLevel.Warning, "The store {Store} is held by {Lease}: waiting")]
    private partial void LogWaiting(string store, ClusterLease lease);

    [LoggerMessage(504, LogLevel.Warning, "The lease of the store {Store} cannot be kept now: {Reason}")]
    private partial void LogTrouble(string store, string reason);

    [LoggerMessage(505, LogLevel.Warning, "The lease of the store {Store} was changed, and is written again: {Reason}")]
    private partial void LogUnreadable(string store, string reason);
}

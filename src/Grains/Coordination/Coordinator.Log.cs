using FedRLora.Abstractions.Ports;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Coordination;

/// <summary>What coordinators log, all in one category.</summary>
internal static partial class CoordinatorLog
{
    [LoggerMessage(101, LogLevel.Information, "Job {Job}: plan {Name}, {Clients} clients, {Rounds} rounds")]
    public static partial void LogSubmitted(this ILogger<CoordinatorGrain> logger, string job, string name, int clients, int rounds);

    [LoggerMessage(102, LogLevel.Information, "Job {Job}: round {Round} committed as {Sha256} after {Seconds:F2} s")]
    public static partial void LogCommitted(this ILogger<CoordinatorGrain> logger, string job, int round, string sha256, double seconds);

    [LoggerMessage(103, LogLevel.Information, "Job {Job} finished as {Sha256}")]
    public static partial void LogFinished(this ILogger<CoordinatorGrain> logger, string job, string sha256);

    [LoggerMessage(104, LogLevel.Warning, "Job {Job} stopped: {Reason}")]
    public static partial void LogStopped(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(105, LogLevel.Warning, "Job {Job}: site {Site} cannot be reached: {Reason}")]
    public static partial void LogSiteUnreachable(this ILogger<CoordinatorGrain> logger, string job, string site, string reason);

    [LoggerMessage(106, LogLevel.Warning, "Job {Job}: another activation wrote its state; this one steps back")]
    public static partial void LogReplaced(this ILogger<CoordinatorGrain> logger, string job, Exception exception);

    [LoggerMessage(107, LogLevel.Warning, "Job {Job}: the coordinator begins again after an error")]
    public static partial void LogBeginsAgain(this ILogger<CoordinatorGrain> logger, string job, Exception exception);

    [LoggerMessage(119, LogLevel.Error, "Job {Job}: {Reason}")]
    public static partial void LogRefused(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(111, LogLevel.Error, "Job {Job}: the coordinator cannot go on")]
    public static partial void LogBroken(this ILogger<CoordinatorGrain> logger, string job, Exception exception);

    [LoggerMessage(108, LogLevel.Warning, "Job {Job}, round {Round}: {Reason}")]
    public static partial void LogConflict(this ILogger<CoordinatorGrain> logger, string job, int round, string reason);

    [LoggerMessage(109, LogLevel.Warning, "Job {Job}: adapters are not exported: {Reason}")]
    public static partial void LogNotExported(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(110, LogLevel.Warning, "Job {Job} goes on with another engine: {Engine}")]
    public static partial void LogEngineChanged(this ILogger<CoordinatorGrain> logger, string job, EngineFingerprint engine);

    [LoggerMessage(112, LogLevel.Warning, "Job {Job}: updates of a committed round are left until the job starts again")]
    public static partial void LogUpdatesLeft(this ILogger<CoordinatorGrain> logger, string job, Exception exception);

    [LoggerMessage(113, LogLevel.Warning, "Job {Job} waits to be resumed: {Reason}")]
    public static partial void LogHeld(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(114, LogLevel.Warning, "Job {Job}: committed rounds cannot be read now: {Reason}")]
    public static partial void LogStoreAway(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(115, LogLevel.Information, "Job {Job} begins where round {Round} of job {Source} ended")]
    public static partial void LogForked(this ILogger<CoordinatorGrain> logger, string job, string source, int round);

    [LoggerMessage(116, LogLevel.Information, "Job {Job} is extended from {Before} to {Rounds} rounds")]
    public static partial void LogExtended(this ILogger<CoordinatorGrain> logger, string job, int before, int rounds);

    [LoggerMessage(117, LogLevel.Warning, "Job {Job}: base and rows of its rounds so far were not recorded; they are from here on")]
    public static partial void LogInputsUnknown(this ILogger<CoordinatorGrain> logger, string job);

    [LoggerMessage(122, LogLevel.Information, "Job {Job}: its local-only reference {Reference} has begun")]
    public static partial void LogReferenceBegun(this ILogger<CoordinatorGrain> logger, string job, string reference);

    [LoggerMessage(121, LogLevel.Warning, "Job {Job} has no local-only reference: {Reason}")]
    public static partial void LogNoReference(this ILogger<CoordinatorGrain> logger, string job, string reason);

    [LoggerMessage(118, LogLevel.Warning, "Job {Job} goes on from round {Round} on with what changed: {Change}")]
    public static partial void LogInputsChanged(this ILogger<CoordinatorGrain> logger, string job, int round, string change);

    [LoggerMessage(120, LogLevel.Warning,
        "Job {Job}: {Left} of {Clients} clients have no metrics of their own: the silo has {Most} series for them (--client-metrics)")]
    public static partial void LogClientSeries(this ILogger<CoordinatorGrain> logger, string job, int left, int clients, int most);

    [LoggerMessage(123, LogLevel.Warning, "Job {Job}: site {Site} reported of {Client}, which is no client of it; that is left out")]
    public static partial void LogNotItsClient(this ILogger<CoordinatorGrain> logger, string job, string site, string client);

    [LoggerMessage(124, LogLevel.Information, "Job {Job}: site {Site} reported late, of round {Late} by {Clients} clients: the run is in "
        + "round {Round}, {Status}; that counts for nothing")]
    public static partial void LogLate(
        this ILogger<CoordinatorGrain> logger, string job, string site, int late, int clients, int round, string status);
}

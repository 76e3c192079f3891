using FedRLora.Abstractions.Ports;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains;

internal sealed partial class CoordinatorGrain
{
    [LoggerMessage(101, LogLevel.Information, "Job {Job}: plan {Name}, {Clients} clients, {Rounds} rounds")]
    private partial void LogSubmitted(string job, string name, int clients, int rounds);

    [LoggerMessage(102, LogLevel.Information, "Job {Job}: round {Round} committed as {Sha256} after {Seconds:F2} s")]
    private partial void LogCommitted(string job, int round, string sha256, double seconds);

    [LoggerMessage(103, LogLevel.Information, "Job {Job} finished as {Sha256}")]
    private partial void LogFinished(string job, string sha256);

    [LoggerMessage(104, LogLevel.Warning, "Job {Job} stopped: {Reason}")]
    private partial void LogStopped(string job, string reason);

    [LoggerMessage(105, LogLevel.Warning, "Job {Job}: site {Site} cannot be reached: {Reason}")]
    private partial void LogSiteUnreachable(string job, string site, string reason);

    [LoggerMessage(106, LogLevel.Warning, "Job {Job}: another activation wrote its notes; this one steps back")]
    private partial void LogReplaced(string job, Exception exception);

    [LoggerMessage(107, LogLevel.Warning, "Job {Job}: the coordinator begins again after an error")]
    private partial void LogBeginsAgain(string job, Exception exception);

    [LoggerMessage(119, LogLevel.Error, "Job {Job}: {Reason}")]
    private partial void LogRefused(string job, string reason);

    [LoggerMessage(111, LogLevel.Error, "Job {Job}: the coordinator cannot go on")]
    private partial void LogBroken(string job, Exception exception);

    [LoggerMessage(108, LogLevel.Warning, "Job {Job}, round {Round}: {Reason}")]
    private partial void LogConflict(string job, int round, string reason);

    [LoggerMessage(109, LogLevel.Warning, "Job {Job}: adapters are not exported: {Reason}")]
    private partial void LogNotExported(string job, string reason);

    [LoggerMessage(110, LogLevel.Warning, "Job {Job} goes on with another engine: {Engine}")]
    private partial void LogEngineChanged(string job, EngineFingerprint engine);

    [LoggerMessage(112, LogLevel.Warning, "Job {Job}: updates of a committed round are left until the job starts again")]
    private partial void LogUpdatesLeft(string job, Exception exception);

    [LoggerMessage(113, LogLevel.Warning, "Job {Job} waits to be resumed: {Reason}")]
    private partial void LogHeld(string job, string reason);

    [LoggerMessage(114, LogLevel.Warning, "Job {Job}: committed rounds cannot be read now: {Reason}")]
    private partial void LogStoreAway(string job, string reason);

    [LoggerMessage(115, LogLevel.Information, "Job {Job} begins where round {Round} of job {Source} ended")]
    private partial void LogForked(string job, string source, int round);

    [LoggerMessage(116, LogLevel.Information, "Job {Job} is extended from {Before} to {Rounds} rounds")]
    private partial void LogExtended(string job, int before, int rounds);

    [LoggerMessage(117, LogLevel.Warning, "Job {Job}: base and rows of its rounds so far were not recorded; they are from here on")]
    private partial void LogInputsUnknown(string job);

    [LoggerMessage(118, LogLevel.Warning, "Job {Job} goes on from round {Round} on with what changed: {Change}")]
    private partial void LogInputsChanged(string job, int round, string change);
}

using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Sites;

internal sealed partial class SiteGrain
{
    [LoggerMessage(201, LogLevel.Warning, "Job {Job}, site {Site}: round {Round} did not reach all clients; it is sent again")]
    private partial void LogDispatchFailed(string job, string site, int round, Exception exception);

    [LoggerMessage(202, LogLevel.Warning, "Job {Job}, site {Site}: {Count} reports were not delivered ({Reason}); they are sent again")]
    private partial void LogReportLost(string job, string site, int count, string reason);

    [LoggerMessage(203, LogLevel.Warning, "Job {Job}, site {Site}, round {Round} attempt {Attempt}: {What} Its client is asked again")]
    private partial void LogMissing(string job, string site, int round, int attempt, string what);

    [LoggerMessage(204, LogLevel.Warning, "Job {Job}, site {Site}: the coordinator has not answered for {Seconds:F0} s, so training stops "
        + "here; it begins again when the coordinator asks for it")]
    private partial void LogLeaseOver(string job, string site, double seconds);
}

using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Jobs;

internal sealed partial class JobsGrain
{
    [LoggerMessage(501, LogLevel.Error, "{Job}: cannot go on: {Reason}")]
    private partial void LogRefused(string job, string reason);

    [LoggerMessage(502, LogLevel.Warning, "Job {Job} cannot be continued now")]
    private partial void LogNotRevived(string job, Exception exception);

    [LoggerMessage(503, LogLevel.Warning, "The reminder that revives jobs is not registered: {Reason}")]
    private partial void LogNotReminded(string reason);
}

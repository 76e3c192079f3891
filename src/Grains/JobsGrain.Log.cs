using Microsoft.Extensions.Logging;

namespace FedRLora.Grains;

internal sealed partial class JobsGrain
{
    [LoggerMessage(501, LogLevel.Error, "{Job}: cannot go on: {Reason}")]
    private partial void LogRefused(string job, string reason);
}

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Rendering;

/// <summary>Logs for a person, one line each.</summary>
internal static class ConsoleLogs
{
    /// <summary>To standard error: standard output is the command's own.</summary>
    public static ILoggingBuilder AddStandardError(this ILoggingBuilder logging)
    {
        logging.AddConsole(static console => console.FormatterName = LogLines.FormatterName)
            .AddConsoleFormatter<LogLines, ConsoleFormatterOptions>();
        logging.Services.Configure<ConsoleLoggerOptions>(static console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        return logging;
    }
}

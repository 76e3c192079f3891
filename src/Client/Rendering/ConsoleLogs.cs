using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Rendering;

/// <summary>Logs for a person, one line each, or for a program, one JSON object a line.</summary>
internal static class ConsoleLogs
{
    private const string Text = "text", Json = "json";

    /// <summary>Which of both.</summary>
    public static Option<string> Format()
    {
        var format = new Option<string>("--log-format")
        {
            Description = "How log lines are written to standard error: text (default), or json, one object a line",
            DefaultValueFactory = static _ => Text,
        };
        format.AcceptOnlyFromAmong(Text, Json);
        return format;
    }

    /// <summary>What a command says beside its log, in the form that the log has.</summary>
    public static Task SayAsync(TextWriter error, string format, LogLevel level, string line) =>
        error.WriteLineAsync(Form(format, level, line));

    /// <summary>A line in the form that the log has.</summary>
    public static string Form(string format, LogLevel level, string line) =>
        format == Json ? JsonLogLines.Of(level, line, TimeProvider.System.GetUtcNow()) : line;

    /// <summary>To standard error: standard output is the command's own.</summary>
    public static ILoggingBuilder AddStandardError(this ILoggingBuilder logging, string format = Text)
    {
        var isJson = format == Json;
        logging.AddConsole(console => console.FormatterName = isJson ? JsonLogLines.FormatterName : LogLines.FormatterName)
            .AddConsoleFormatter<LogLines, ConsoleFormatterOptions>().AddConsoleFormatter<JsonLogLines, ConsoleFormatterOptions>();
        logging.Services.Configure<ConsoleLoggerOptions>(static console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        return logging;
    }
}

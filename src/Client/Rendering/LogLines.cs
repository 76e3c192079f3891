using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Rendering;

/// <summary>A log line begins with the time in UTC. See <see cref="LogRepetitions"/> for what is not said twice.</summary>
internal sealed class LogLines(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    /// <summary>The name that the console's options choose it by.</summary>
    public const string FormatterName = "lines";

    private readonly LogRepetitions _repetitions = new(time);

    /// <inheritdoc/>
    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var text = logEntry.Formatter(logEntry.State, logEntry.Exception);
        if (!_repetitions.IsDue(logEntry.Category, logEntry.EventId.Id, text, out var now, out var unsaid)) return;
        textWriter.Write(now.ToString("yyyy-MM-dd'T'HH:mm:ss'Z' ", CultureInfo.InvariantCulture));
        textWriter.Write(LevelOf(logEntry.LogLevel));
        textWriter.Write(": ");
        textWriter.Write(logEntry.Category);
        textWriter.Write(string.Create(CultureInfo.InvariantCulture, $"[{logEntry.EventId.Id}] "));
        textWriter.Write(OneLine(text));
        if (unsaid > 0) textWriter.Write(string.Create(CultureInfo.InvariantCulture, $" ({unsaid} times more since it was last said)"));
        if (logEntry.Exception is { } exception) textWriter.Write(" " + OneLine(exception.ToString()));
        textWriter.Write('\n');
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");

    private static string LevelOf(LogLevel level) => level switch
    {
        LogLevel.Trace => "trce", LogLevel.Debug => "dbug", LogLevel.Information => "info",
        LogLevel.Warning => "warn", LogLevel.Error => "fail", _ => "crit",
    };
}

using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Rendering;

/// <summary>
/// A log line begins with the time in UTC. What was said in the last minute is not said again; when it is, the line counts how often
/// it came meanwhile.
/// </summary>
internal sealed class LogLines(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    /// <summary>The name that the console's options choose it by.</summary>
    public const string FormatterName = "lines";

    private const int MostRemembered = 2_000;
    private static readonly TimeSpan Quiet = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<(string Category, int Id, string Text), Said> _said = new();

    /// <inheritdoc/>
    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var text = logEntry.Formatter(logEntry.State, logEntry.Exception);
        var now = time.GetUtcNow();
        var said = _said.GetOrAdd((logEntry.Category, logEntry.EventId.Id, text), static _ => new Said());
        int unsaid;
        lock (said)
        {
            if (said.At is { } at && now - at < Quiet)
            {
                said.Unsaid++;
                return;
            }

            (unsaid, said.At, said.Unsaid) = (said.Unsaid, now, 0);
        }

        Forget(now);
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

    private void Forget(DateTimeOffset now)
    {
        if (_said.Count <= MostRemembered) return;
        foreach (var (key, said) in _said)
        {
            if (now - said.At >= Quiet) _said.TryRemove(key, out _);
        }
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");

    private static string LevelOf(LogLevel level) => level switch
    {
        LogLevel.Trace => "trce", LogLevel.Debug => "dbug", LogLevel.Information => "info",
        LogLevel.Warning => "warn", LogLevel.Error => "fail", _ => "crit",
    };

    private sealed class Said
    {
        public DateTimeOffset? At { get; set; }

        public int Unsaid { get; set; }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using FedRLora.Grains.Logs;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace FedRLora.Client.Rendering;

/// <summary>
/// A log line is one JSON object: <c>schema</c>, <c>time</c>, <c>level</c>, <c>category</c>, <c>event</c>, <c>message</c>, what it is about
/// (<c>run</c>, <c>round</c>, <c>site</c>, <c>client</c> and others) and the ids of the trace and the span that it was written in.
/// </summary>
internal sealed class JsonLogLines(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    /// <summary>The name that the console's options choose it by.</summary>
    public const string FormatterName = "json-lines"; // "json" is the library's own

    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private readonly LogRepetitions _repetitions = new(time);

    /// <inheritdoc/>
    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var text = logEntry.Formatter(logEntry.State, logEntry.Exception);
        if (!_repetitions.IsDue(logEntry.Category, logEntry.EventId.Id, text, out var now, out var unsaid)) return;
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, Options))
        {
            json.WriteStartObject();
            Begin(json, now, logEntry.LogLevel, logEntry.Category, logEntry.EventId.Id, text);
            // A name of the line itself is not given twice.
            foreach (var (name, value) in LogAttributes.Of(logEntry.State, scopeProvider).Where(static one => !IsOwn(one.Key)))
                Write(json, name, value);
            if (unsaid > 0) json.WriteNumber("repeated", unsaid);
            if (Activity.Current is { } activity)
            {
                json.WriteString("traceId", activity.TraceId.ToHexString());
                json.WriteString("spanId", activity.SpanId.ToHexString());
            }

            if (logEntry.Exception is { } exception) json.WriteString("exception", exception.ToString());
            json.WriteEndObject();
        }

        textWriter.Write(Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
        textWriter.Write('\n');
    }

    /// <summary>A line that is about nothing else.</summary>
    public static string Of(LogLevel level, string message, DateTimeOffset now)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, Options))
        {
            json.WriteStartObject();
            Begin(json, now, level, "fedrlora", 0, message);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    private static void Begin(Utf8JsonWriter json, DateTimeOffset now, LogLevel level, string category, int id, string message)
    {
        json.WriteNumber("schema", 1);
        json.WriteString("time", now.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
        json.WriteString("level", LogRing.LevelOf(level));
        json.WriteString("category", category);
        json.WriteNumber("event", id);
        json.WriteString("message", message);
    }

    private static bool IsOwn(string name) =>
        name is "schema" or "time" or "level" or "category" or "event" or "message" or "repeated" or "traceId" or "spanId" or "exception";

    private static void Write(Utf8JsonWriter json, string name, object value)
    {
        switch (value)
        {
            case int whole:
                json.WriteNumber(name, whole);
                break;
            case long whole:
                json.WriteNumber(name, whole);
                break;
            case double number when double.IsFinite(number):
                json.WriteNumber(name, number);
                break;
            case double:
                json.WriteNull(name);
                break;
            default:
                json.WriteString(name, Convert.ToString(value, CultureInfo.InvariantCulture));
                break;
        }
    }
}

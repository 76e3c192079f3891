using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions.Messages;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Grains.Logs;

/// <summary>The last log lines of this silo, in memory, for whoever asks for a run's. No line carries a data row.</summary>
[ProviderAlias("Ring")]
public sealed class LogRing(SiloIdentity silo, TimeProvider time) : ILoggerProvider, ISupportExternalScope
{
    /// <summary>Lines that are kept.</summary>
    public const int MostLines = 2_000;

    /// <summary>Letters of a line that are kept.</summary>
    public const int MostLetters = 4_000;

    private const string Audit = "FedRLora.ControlPlane.Audit"; // who did what is for operators, by a route of its own

    private readonly LogLine[] _lines = new LogLine[MostLines];
    private readonly Lock _gate = new();
    private IExternalScopeProvider? _scopes;
    private long _next = 1;

    /// <summary>Lines after one, oldest first.</summary>
    /// <param name="run">Those about this run; null for all.</param>
    /// <param name="after">The number of the last line that is known; 0 for none.</param>
    /// <param name="most">How many.</param>
    public LogLines After(string? run, long after, int most)
    {
        lock (_gate)
        {
            var (oldest, lines) = (Math.Max(1, _next - MostLines), new List<LogLine>());
            var number = Math.Max(oldest, after + 1);
            for (; number < _next && lines.Count < most; number++)
            {
                var line = _lines[number % MostLines];
                if (run is null || line.Run == run) lines.Add(line);
            }

            return new() { Silo = silo.Name, Lines = lines, Last = number - 1, Forgotten = Math.Max(0, oldest - 1 - after) };
        }
    }

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) =>
        categoryName.StartsWith(Audit, StringComparison.Ordinal) ? NullLogger.Instance : new Logger(this, categoryName);

    /// <inheritdoc/>
    public void SetScopeProvider(IExternalScopeProvider scopeProvider) => _scopes = scopeProvider;

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private void Add(LogLine line)
    {
        lock (_gate)
        {
            _lines[_next % MostLines] = line with { Number = _next };
            _next++;
        }
    }

    private sealed class Logger(LogRing ring, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => ring._scopes?.Push(state);

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var about = LogAttributes.Of(state, ring._scopes);
            var text = formatter(state, exception).ReplaceLineEndings(" ");
            if (exception is not null) text += $": {exception.GetType().Name}: {exception.Message.ReplaceLineEndings(" ")}";
            var activity = Activity.Current;
            ring.Add(new()
            {
                Number = 0, At = ring.Now, Level = LevelOf(logLevel), Category = category, Event = eventId.Id,
                Text = text.Length <= MostLetters ? text : text[..MostLetters] + "...",
                Run = Text("run"), Site = Text("site"), Client = Text("client"),
                Round = about.GetValueOrDefault("round") is int round ? round : null,
                TraceId = activity?.TraceId.ToHexString(), SpanId = activity?.SpanId.ToHexString(),
            });

            string? Text(string name) =>
                about.TryGetValue(name, out var value) ? Convert.ToString(value, CultureInfo.InvariantCulture) : null;
        }
    }

    private DateTimeOffset Now => time.GetUtcNow();

    /// <summary>A level in one word.</summary>
    public static string LevelOf(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace", LogLevel.Debug => "debug", LogLevel.Information => "information", LogLevel.Warning => "warning",
        LogLevel.Error => "error", _ => "critical",
    };
}

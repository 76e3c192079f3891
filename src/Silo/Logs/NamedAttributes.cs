using FedRLora.Grains.Logs;
using OpenTelemetry;
using OpenTelemetry.Logs;

namespace FedRLora.Silo.Logs;

/// <summary>
/// Gives the attributes of a record the names that they have everywhere: <c>run</c>, <c>round</c>, <c>client</c>, <c>site</c>.
/// </summary>
internal sealed class NamedAttributes : BaseProcessor<LogRecord>
{
    /// <inheritdoc/>
    public override void OnEnd(LogRecord data)
    {
        var within = new Within();
        data.ForEachScope(static (scope, found) => found.Add(scope), within);
        var named = new List<KeyValuePair<string, object?>>();
        foreach (var (placeholder, value) in data.Attributes ?? [])
        {
            // The exporter writes what it is within beside them, and no name twice.
            if (LogAttributes.NameOf(placeholder) is { } name && !within.Names.Contains(name)) named.Add(new(name, value));
        }

        data.Attributes = named;
    }

    private sealed class Within
    {
        public HashSet<string> Names { get; } = new(StringComparer.Ordinal);

        public void Add(LogRecordScope scope)
        {
            foreach (var (name, _) in scope) Names.Add(name);
        }
    }
}

using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Logs;

/// <summary>
/// What a log line is about, by name: <c>run</c>, <c>round</c>, <c>site</c>, <c>client</c> and whatever else its message has. What the
/// message says comes before what it is written within.
/// </summary>
public static class LogAttributes
{
    private const string Template = "{OriginalFormat}";

    /// <summary>The name of what a message calls <paramref name="placeholder"/>; null for its template.</summary>
    public static string? NameOf(string placeholder) => placeholder switch
    {
        Template or "" => null,
        "Job" => "run",
        _ => char.ToLowerInvariant(placeholder[0]) + placeholder[1..],
    };

    /// <summary>All of a line, in order, each name once.</summary>
    public static IReadOnlyDictionary<string, object> Of(object? state, IExternalScopeProvider? scopes)
    {
        var found = new OrderedDictionary<string, object>(StringComparer.Ordinal);
        Add(state, found);
        scopes?.ForEachScope(static (scope, all) => Add(scope, all), found);
        return found;
    }

    private static void Add(object? values, OrderedDictionary<string, object> found)
    {
        if (values is not IEnumerable<KeyValuePair<string, object?>> pairs) return;
        foreach (var (placeholder, value) in pairs)
        {
            if (value is not null && NameOf(placeholder) is { } name) found.TryAdd(name, value);
        }
    }
}

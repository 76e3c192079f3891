using System.Collections;
using System.Globalization;

namespace FedRLora.Grains.Logs;

/// <summary>What log lines are about that are written within it, whatever they say themselves.</summary>
internal sealed class LogScope(string run, int? round = null, string? site = null, string? group = null)
    : IReadOnlyList<KeyValuePair<string, object?>>
{
    private readonly KeyValuePair<string, object?>[] _values =
    [
        new("run", run), .. Given("round", round), .. Given("site", site), .. Given("group", group),
    ];

    public int Count => _values.Length;

    public KeyValuePair<string, object?> this[int index] => _values[index];

    public IEnumerator<KeyValuePair<string, object?>> GetEnumerator() => _values.AsEnumerable().GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    public override string ToString() => string.Join(' ', _values.Select(
        static value => string.Create(CultureInfo.InvariantCulture, $"{value.Key} {value.Value}")));

    private static IEnumerable<KeyValuePair<string, object?>> Given(string name, object? value)
    {
        if (value is not null) yield return new(name, value);
    }
}

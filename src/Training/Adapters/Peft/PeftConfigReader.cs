using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>Typed values of <c>adapter_config.json</c>; null and absent are the same.</summary>
internal sealed class PeftConfigReader
{
    private const int MaxRank = 1 << 20;

    private readonly Dictionary<string, JsonElement> _values = new(StringComparer.Ordinal);
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);
    private readonly string _path;

    /// <exception cref="BadInputException">Not an object, or a key occurs twice.</exception>
    public PeftConfigReader(JsonElement root, string path)
    {
        _path = path;
        if (root.ValueKind != JsonValueKind.Object) throw new BadInputException($"{path}: {root.ValueKind}, expected an object");
        foreach (var entry in root.EnumerateObject())
        {
            if (!_values.TryAdd(entry.Name, entry.Value)) throw new BadInputException($"{path}: {Shorten(entry.Name)} occurs twice");
        }
    }

    /// <summary>A setting that must be absent, null, false or empty.</summary>
    public void Off(string key)
    {
        if (Find(key) is { } value && !IsOff(value)) throw Bad(key, "null, false or nothing in it: only LoRA and DoRA are implemented");
    }

    /// <summary>Whether a setting is there and neither null, false, 0 nor empty.</summary>
    public bool IsOn(string key) => Find(key) is { } value && !IsOff(value);

    /// <summary>Refuses a setting that nobody asked for and that is switched on, as those are that a later PEFT adds.</summary>
    /// <param name="harmless">Keys that change nothing.</param>
    public void RefuseUnread(IReadOnlyCollection<string> harmless)
    {
        if (_values.FirstOrDefault(entry => !_read.Contains(entry.Key) && !harmless.Contains(entry.Key) && IsOn(entry.Key)).Key is { } key)
            throw new BadInputException(
                $"{_path}: {BadInputException.Shown(key)} is {Shorten(_values[key].GetRawText())}, a setting that is not known here and "
                + "may change what the adapter computes; remove it if it has no influence");
    }

    /// <summary>A word; null for true and false.</summary>
    public string? Word(string key) => Find(key) switch
    {
        null or { ValueKind: JsonValueKind.True or JsonValueKind.False } => null,
        { ValueKind: JsonValueKind.String } word => word.GetString(),
        _ => throw Bad(key, "true, false or a word"),
    };

    /// <summary>The one word of a setting that is implemented.</summary>
    public void Only(string key, string expected, bool required)
    {
        if (required || Find(key) is not null) _ = Text(key) == expected ? expected : throw Bad(key, $"\"{expected}\"");
    }

    public string? Text(string key) => Find(key) is { } value ? value.ValueKind == JsonValueKind.String ? value.GetString() : throw Bad(key, "a string") : null;

    public bool Flag(string key) => Find(key) switch
    {
        null or { ValueKind: JsonValueKind.False } => false,
        { ValueKind: JsonValueKind.True } => true,
        _ => throw Bad(key, "true or false"),
    };

    public int Rank(string key) => RankOf(Find(key) ?? throw Bad(key, "a rank"), key);

    public double Alpha(string key) => AlphaOf(Find(key) ?? throw Bad(key, "a number above 0"), key);

    /// <summary>A list of names, the word all-linear for the empty list, or a regular expression.</summary>
    public (IReadOnlyList<string>? Names, string? Pattern) Modules(string key) => Find(key) switch
    {
        null => (null, null),
        { ValueKind: JsonValueKind.String } word => word.GetString() == "all-linear" ? ([], null) : (null, word.GetString()),
        { ValueKind: JsonValueKind.Array } list when list.GetArrayLength() == 0 => (null, null),
        _ => (Words(key), null),
    };

    /// <summary>A string or a list of strings.</summary>
    public IReadOnlyList<string> Words(string key) => Find(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.String } word => [word.GetString()!],
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.String ? item.GetString()! : throw Bad(key, "names"))],
        _ => throw Bad(key, "a name or a list of names"),
    };

    /// <summary>An integer or a list of them.</summary>
    public IReadOnlyList<int> Integers(string key) => Find(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(item => IntegerOf(item, key))],
        { } value => [IntegerOf(value, key)],
    };

    public IReadOnlyList<KeyValuePair<string, int>> Ranks(string key) => Pairs(key, value => RankOf(value, key));

    public IReadOnlyList<KeyValuePair<string, double>> Alphas(string key) => Pairs(key, value => AlphaOf(value, key));

    private List<KeyValuePair<string, T>> Pairs<T>(string key, Func<JsonElement, T> convert) => Find(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.Object } map => [.. map.EnumerateObject().Select(entry => KeyValuePair.Create(entry.Name, convert(entry.Value)))],
        _ => throw Bad(key, "an object of names and numbers"),
    };

    private int IntegerOf(JsonElement value, string key) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= 0 ? number : throw Bad(key, "numbers of layers, from 0");

    private int RankOf(JsonElement value, string key) => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number == Math.Floor(number) && number is >= 1 and <= MaxRank
        ? (int)number
        : throw Bad(key, $"a whole number from 1 to {MaxRank}");

    private double AlphaOf(JsonElement value, string key) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number > 0 && double.IsFinite(number) ? number : throw Bad(key, "a finite number above 0");

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Number => value.TryGetDouble(out var number) && number == 0,
        JsonValueKind.String => value.ValueEquals(""),
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        _ => false,
    };

    private JsonElement? Find(string key)
    {
        _read.Add(key);
        return _values.TryGetValue(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    private BadInputException Bad(string key, string expected) =>
        new($"{_path}: {key} is {(_values.TryGetValue(key, out var value) ? Shorten(value.GetRawText()) : "missing")}, expected {expected}");

    private static string Shorten(string text)
    {
        var line = text.ReplaceLineEndings(" ");
        return line.Length > 100 ? line[..100] + "..." : line;
    }
}

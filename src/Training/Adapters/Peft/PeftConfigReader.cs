using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>Typed values of <c>adapter_config.json</c>; null and absent are the same.</summary>
internal sealed class PeftConfigReader
{
    private const int MaxRank = 1 << 20;

    private readonly Dictionary<string, JsonElement> _values = new(StringComparer.Ordinal);
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
    /// <param name="key">The setting.</param>
    /// <param name="isOnWhereEmpty">Whether an empty object switches it on.</param>
    public void Off(string key, bool isOnWhereEmpty)
    {
        if (Find(key) is not { } value) return;
        if (!IsOff(value)) throw Bad(key, "null, false or nothing in it: only LoRA and DoRA are implemented");
        if (isOnWhereEmpty && value.ValueKind == JsonValueKind.Object) throw Bad(key, "null: only LoRA and DoRA are implemented");
    }

    /// <summary>Whether a setting is there and neither null, false, 0 nor empty.</summary>
    public bool IsOn(string key) => Find(key) is { } value && !IsOff(value);

    /// <summary>Refuses a setting that is on and not known here, as those are that a later PEFT adds.</summary>
    public void RefuseUnknown()
    {
        if (_values.Keys.FirstOrDefault(key => !PeftOptions.Known.ContainsKey(key) && IsOn(key)) is { } key)
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

    /// <summary>One of the words that are implemented; null where it is absent and not required.</summary>
    public string? OneOf(string key, IReadOnlyList<string> words, bool required)
    {
        if (!required && Find(key) is null) return null;
        var found = Find(key) is { ValueKind: JsonValueKind.String } word ? word.GetString() : null;
        return words.Contains(found) ? found : throw Bad(key, string.Join(" or ", words.Select(static word => $"\"{word}\"")));
    }

    public string? Text(string key) =>
        Find(key) is { } value ? value.ValueKind == JsonValueKind.String ? value.GetString() : throw Bad(key, "a string") : null;

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
        { ValueKind: JsonValueKind.String } word => word.GetString() == "all-linear" ? ([], null) : (null, Pattern(key, word.GetString()!)),
        { ValueKind: JsonValueKind.Array } list when list.GetArrayLength() == 0 => (null, null),
        _ => (Words(key), null),
    };

    /// <summary>A string or a list of strings.</summary>
    public IReadOnlyList<string> Words(string key) => Find(key) switch
    {
        null => [],
        { ValueKind: JsonValueKind.String } word => [word.GetString()!],
        { ValueKind: JsonValueKind.Array } list =>
            [.. list.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.String ? item.GetString()! : throw Bad(key, "names"))],
        _ => throw Bad(key, "a name or a list of names"),
    };

    /// <summary>The same of regular expressions; an empty string is none.</summary>
    public IReadOnlyList<string> Patterns(string key) =>
        [.. Words(key).Where(static word => word.Length > 0).Select(word => Pattern(key, word))];

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
        { ValueKind: JsonValueKind.Object } map =>
            [.. map.EnumerateObject().Select(entry => KeyValuePair.Create(Pattern(key, entry.Name), convert(entry.Value)))],
        _ => throw Bad(key, "an object of names and numbers"),
    };

    private string Pattern(string key, string pattern)
    {
        try
        {
            ModuleRules.CheckPattern(pattern);
            return pattern;
        }
        catch (BadInputException problem)
        {
            throw new BadInputException($"{_path}: {key}: {problem.Message}", problem);
        }
    }

    private int IntegerOf(JsonElement value, string key) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= 0
            ? number
            : throw Bad(key, "numbers of layers, from 0");

    private int RankOf(JsonElement value, string key) => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number)
        && number == Math.Floor(number) && number is >= 1 and <= MaxRank
        ? (int)number
        : throw Bad(key, $"a whole number from 1 to {MaxRank}");

    private double AlphaOf(JsonElement value, string key) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number > 0 && double.IsFinite(number)
            ? number
            : throw Bad(key, "a finite number above 0");

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Number => value.TryGetDouble(out var number) && number == 0,
        JsonValueKind.String => value.ValueEquals(""),
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        _ => false,
    };

    private JsonElement? Find(string key) =>
        _values.TryGetValue(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private BadInputException Bad(string key, string expected) =>
        new($"{_path}: {key} is {(_values.TryGetValue(key, out var value) ? Shorten(value.GetRawText()) : "missing")}, "
            + $"expected {expected}");

    private static string Shorten(string text)
    {
        var line = text.ReplaceLineEndings(" ");
        return line.Length > 100 ? line[..100] + "..." : line;
    }
}

using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>One object of <c>tokenizer.json</c>, with the file and the name that errors call it by.</summary>
internal sealed record Setting(string Path, string Name, JsonElement Value)
{
    /// <summary>The object's <c>type</c>.</summary>
    public string Type => Text("type");

    /// <summary>The same object under the name of its type, such as "decoder Strip".</summary>
    public Setting Named(string type) => this with { Name = $"{Name} {Shorten(type)}" };

    public bool Has(string key) => Value.ValueKind == JsonValueKind.Object && Value.TryGetProperty(key, out _);

    /// <summary>What is under a key; undefined where nothing or null is.</summary>
    public JsonElement Get(string key)
    {
        if (Value.ValueKind != JsonValueKind.Object) throw Bad($"is {Value.ValueKind}, expected an object");
        return Value.TryGetProperty(key, out var found) && found.ValueKind != JsonValueKind.Null ? found : default;
    }

    /// <summary>The object under a key, or null.</summary>
    public Setting? Child(string key) =>
        Get(key) is { ValueKind: not JsonValueKind.Undefined } found ? new Setting(Path, key, found) : null;

    /// <summary>The objects of a list, each called as this one's steps are.</summary>
    public IEnumerable<Setting> Steps(string key, string name) => List(key).Select(step => new Setting(Path, name, step));

    public JsonElement.ArrayEnumerator List(string key) =>
        Get(key) is { ValueKind: JsonValueKind.Array } list ? list.EnumerateArray() : throw Bad($"{key} is missing or not an array");

    public string Text(string key) => OptionalText(key) ?? throw Bad($"has no {key}");

    public string? OptionalText(string key) => Get(key) switch
    {
        { ValueKind: JsonValueKind.Undefined } => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        var other => throw Bad($"{key} is {other.ValueKind}, expected a string"),
    };

    public char Character(string key, char? absent = null) => OptionalText(key) switch
    {
        null when absent is { } character => character,
        [var character] when !char.IsSurrogate(character) => character,
        _ => throw Bad($"{key} is {Shorten(Get(key))}, expected one character"),
    };

    public bool? OptionalFlag(string key) => Get(key) switch
    {
        { ValueKind: JsonValueKind.Undefined } => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        var other => throw Bad($"{key} is {Shorten(other)}, expected true or false"),
    };

    public bool Flag(string key, bool absent = false) => OptionalFlag(key) ?? absent;

    public int Count(string key, int? absent = null) => Get(key) switch
    {
        { ValueKind: JsonValueKind.Undefined } when absent is { } count => count,
        { ValueKind: JsonValueKind.Number } number when number.TryGetInt32(out var count) && count >= 0 => count,
        var other => throw Bad($"{key} is {Shorten(other)}, expected a non-negative integer"),
    };

    public int TokenId(string key) => TokenId(Get(key), key);

    public int TokenId(JsonElement value, string key) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id is >= 0 and < int.MaxValue
            ? id
            : throw Bad($"{key} is {Shorten(value)}, expected a token id");

    /// <summary>Refuses what is not known; a setting that is off (null, false, 0, empty) changes nothing and may be there.</summary>
    public Setting Only(params ReadOnlySpan<string> known)
    {
        if (Value.ValueKind != JsonValueKind.Object) throw Bad($"is {Value.ValueKind}, expected an object");
        foreach (var entry in Value.EnumerateObject())
        {
            var off = entry.Value.ValueKind is JsonValueKind.Null or JsonValueKind.False
                || entry.Value is { ValueKind: JsonValueKind.String } text && text.GetString()!.Length == 0
                || entry.Value is { ValueKind: JsonValueKind.Number } number && number.TryGetDouble(out var value) && value == 0;
            if (!off && !known.Contains(entry.Name)) throw Bad($"{Shorten(entry.Name)} {Shorten(entry.Value)} is not implemented");
        }

        return this;
    }

    public BadInputException Bad(string what) => new($"{Path}: {Name} {what}");

    /// <summary>A value as an error shows it: one line, at most 80 characters.</summary>
    public static string Shorten(JsonElement value) => value.ValueKind == JsonValueKind.Undefined ? "missing" : Shorten(value.GetRawText());

    public static string Shorten(string text)
    {
        text = new string([.. text.Take(81).Select(static character =>
            char.IsControl(character) || char.IsSurrogate(character) || character is '\u2028' or '\u2029' ? ' ' : character)]);
        return text.Length > 80 ? text[..80] + "..." : text;
    }
}

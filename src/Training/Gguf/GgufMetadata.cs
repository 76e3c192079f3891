using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>The types of values in a GGUF file's metadata.</summary>
internal enum GgufValueType : uint
{
    UInt8 = 0,
    Int8 = 1,
    UInt16 = 2,
    Int16 = 3,
    UInt32 = 4,
    Int32 = 5,
    Float32 = 6,
    Bool = 7,
    Text = 8,
    Array = 9,
    UInt64 = 10,
    Int64 = 11,
    Float64 = 12,
}

/// <summary>
/// The metadata of a GGUF file: typed values by key. Arrays lie as the file has them until they are asked for, so that a large
/// vocabulary costs nothing where nobody reads it.
/// </summary>
/// <param name="path">The file, as messages call it.</param>
/// <param name="values">Every key in the file's order.</param>
internal sealed class GgufMetadata(string path, IReadOnlyDictionary<string, GgufValue> values)
{
    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The file.</summary>
    public string Path => path;

    /// <summary>Every key in the file's order.</summary>
    public IEnumerable<string> Keys => values.Keys;

    /// <summary>Whether the file has the key.</summary>
    public bool Has(string key) => values.ContainsKey(key);

    /// <summary>How many values an array has; null where the key is absent.</summary>
    public long? CountOf(string key) => values.TryGetValue(key, out var value) ? value.Count : null;

    /// <summary>Whether the key has an array.</summary>
    public bool IsArray(string key) => values.TryGetValue(key, out var value) && value.Type == GgufValueType.Array;

    /// <summary>Whether the key has false, 0 or nothing in it.</summary>
    public bool IsOff(string key) => values.TryGetValue(key, out var value) && value.Type switch
    {
        GgufValueType.Bool => OptionalFlag(key) == false,
        GgufValueType.Text or GgufValueType.Array => value.Bytes.IsEmpty,
        _ => OptionalNumber(key) == 0,
    };

    /// <summary>A text; null where the key is absent.</summary>
    public string? OptionalText(string key) => Find(key, "a string", static value => value.Type == GgufValueType.Text) is { } found
        ? TextOf(key, found.Bytes.Span)
        : null;

    /// <summary>A text that must be there.</summary>
    public string Text(string key) => OptionalText(key) ?? throw Missing(key);

    /// <summary>A whole number of any width; null where the key is absent.</summary>
    public long? OptionalInteger(string key) => Find(key, "an integer", static value => IsInteger(value.Type)) is { } found
        ? IntegerAt(key, found.Type, found.Bytes.Span)
        : null;

    /// <summary>A whole number of at least 1; null where the key is absent.</summary>
    public int? OptionalSize(string key) => OptionalInteger(key) switch
    {
        null => null,
        >= 1 and <= int.MaxValue and var size => (int)size,
        var other => throw Wrong(key, Shown(other), $"an integer from 1 to {int.MaxValue}"),
    };

    /// <summary>A whole number of at least 1.</summary>
    public int Size(string key) => OptionalSize(key) ?? throw Missing(key);

    /// <summary>A number, which a whole one is too; null where the key is absent.</summary>
    /// <returns>A float32 as the shortest decimal that gives it back says it: 1e-5, not 9.999999747378752e-06.</returns>
    public double? OptionalNumber(string key)
    {
        if (Find(key, "a number", static value => IsFloat(value.Type) || IsInteger(value.Type)) is not { } found) return null;
        return NumberAt(key, found.Type, found.Bytes.Span);
    }

    /// <summary>A number that must be there.</summary>
    public double Number(string key) => OptionalNumber(key) ?? throw Missing(key);

    /// <summary>Keys below a name whose value is true.</summary>
    public IEnumerable<string> KeysThatAreOn(string prefix) => values
        .Where(value => value.Value.Type == GgufValueType.Bool && value.Key.StartsWith(prefix, StringComparison.Ordinal))
        .Select(static value => value.Key).Where(key => OptionalFlag(key) == true);

    /// <summary>True or false; null where the key is absent.</summary>
    public bool? OptionalFlag(string key) => Find(key, "true or false", static value => value.Type == GgufValueType.Bool) is { } found
        ? found.Bytes.Span[0] switch
        {
            0 => false,
            1 => true,
            var other => throw Wrong(key, Shown(other), "true or false"),
        }
        : null;

    /// <summary>A list of texts; null where the key is absent.</summary>
    public string[]? OptionalTexts(string key)
    {
        if (Find(key, "an array of strings", static value => value.ItemType == GgufValueType.Text) is not { } found) return null;
        var texts = new string[found.Count];
        var bytes = found.Bytes.Span;
        for (var i = 0; i < texts.Length; i++)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes); // within the bytes: the file was walked through
            texts[i] = TextOf(key, bytes.Slice(sizeof(ulong), length), i);
            bytes = bytes[(sizeof(ulong) + length)..];
        }

        return texts;
    }

    /// <summary>A list of whole numbers; null where the key is absent.</summary>
    public long[]? OptionalIntegers(string key) =>
        Items(key, "an array of integers", IsInteger, (type, bytes) => IntegerAt(key, type, bytes.Span));

    /// <summary>A list of numbers; null where the key is absent.</summary>
    public double[]? OptionalNumbers(string key) => Items(
        key, "an array of numbers", static type => IsFloat(type) || IsInteger(type), (type, bytes) => NumberAt(key, type, bytes.Span));

    /// <summary>Whether another file has the same value.</summary>
    public bool SameValue(string key, GgufMetadata other) => values.TryGetValue(key, out var value) && other.ValueOf(key) is { } there
        && (value.Type, value.ItemType, value.Count) == (there.Type, there.ItemType, there.Count)
        && value.Bytes.Span.SequenceEqual(there.Bytes.Span);

    /// <summary>A value as the file holds it; null where the key is absent.</summary>
    public GgufValue? ValueOf(string key) => values.TryGetValue(key, out var value) ? value : null;

    /// <summary>A value that cannot be used.</summary>
    public BadInputException Wrong(string key, string value, string expected) =>
        new($"{path}: {BadInputException.Shown(key)} is {BadInputException.Shown(value)}, expected {expected}");

    /// <summary>A key that is not there.</summary>
    public BadInputException Missing(string key) => new($"{path}: {BadInputException.Shown(key)} is missing");

    /// <summary>A value as messages show it.</summary>
    public string ShownValue(string key) => values[key] switch
    {
        { Type: GgufValueType.Text } => $"\"{OptionalText(key)}\"",
        { Type: GgufValueType.Bool } => OptionalFlag(key) == true ? "true" : "false",
        { Type: GgufValueType.Array } array => $"an array of {array.Count}",
        { Type: var type } when IsInteger(type) => Shown(OptionalInteger(key)!.Value),
        _ => OptionalNumber(key)!.Value.ToString(CultureInfo.InvariantCulture),
    };

    /// <summary>A float32 as the shortest decimal that gives it back says it.</summary>
    public static double Shortest(float value) =>
        double.Parse(value.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private T[]? Items<T>(string key, string expected, Func<GgufValueType, bool> fits, Func<GgufValueType, ReadOnlyMemory<byte>, T> read)
    {
        if (Find(key, expected, value => value.ItemType is { } type && fits(type)) is not { } found) return null;
        var (type, size) = (found.ItemType!.Value, GgufValue.SizeOf(found.ItemType.Value));
        var items = new T[found.Count];
        for (var i = 0; i < items.Length; i++) items[i] = read(type, found.Bytes.Slice(i * size, size));
        return items;
    }

    private GgufValue? Find(string key, string expected, Func<GgufValue, bool> fits) => !values.TryGetValue(key, out var value) ? null
        : fits(value) ? value
        : throw Wrong(key, value.ItemType is { } item ? $"an array of {item}" : $"of type {value.Type}", expected);

    private long IntegerAt(string key, GgufValueType type, ReadOnlySpan<byte> bytes) => type switch
    {
        GgufValueType.UInt8 => bytes[0],
        GgufValueType.Int8 => (sbyte)bytes[0],
        GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
        GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(bytes),
        GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(bytes),
        GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(bytes),
        _ => BinaryPrimitives.ReadUInt64LittleEndian(bytes) is <= long.MaxValue and var number
            ? (long)number
            : throw Wrong(key, "above 2^63", "a smaller integer"),
    };

    private double NumberAt(string key, GgufValueType type, ReadOnlySpan<byte> bytes) => type switch
    {
        GgufValueType.Float32 => Shortest(BinaryPrimitives.ReadSingleLittleEndian(bytes)),
        GgufValueType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(bytes),
        _ => IntegerAt(key, type, bytes),
    };

    private string TextOf(string key, ReadOnlySpan<byte> bytes, int? item = null)
    {
        try
        {
            return Strict.GetString(bytes);
        }
        catch (DecoderFallbackException exception)
        {
            var place = item is null ? "" : $", item {item},";
            throw new BadInputException($"{path}: {BadInputException.Shown(key)}{place} is not UTF-8", exception);
        }
    }

    private static bool IsInteger(GgufValueType type) => type is GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.UInt16
        or GgufValueType.Int16 or GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.UInt64 or GgufValueType.Int64;

    private static bool IsFloat(GgufValueType type) => type is GgufValueType.Float32 or GgufValueType.Float64;

    private static string Shown(long? number) => number?.ToString(CultureInfo.InvariantCulture) ?? "";
}

/// <summary>A value as the file holds it.</summary>
/// <param name="Type">Its type.</param>
/// <param name="ItemType">That of an array's items; null for any other value.</param>
/// <param name="Count">Items of an array; 1 for any other value.</param>
/// <param name="Bytes">Little-endian; of a text without its length, of an array of texts with the length before each.</param>
internal readonly record struct GgufValue(GgufValueType Type, GgufValueType? ItemType, long Count, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>Bytes of a value of a fixed size; 0 for a text, whose length is its own.</summary>
    public static int SizeOf(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        GgufValueType.UInt64 or GgufValueType.Int64 or GgufValueType.Float64 => 8,
        _ => 0,
    };
}

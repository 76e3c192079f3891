using System.Globalization;
using System.Text;
using System.Text.Json;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>
/// JSON to values, and the filter <c>tojson</c>: JSON as Python's <c>json.dumps</c> writes it, characters beyond ASCII as they are.
/// </summary>
internal sealed class JsonText
{
    private readonly StringBuilder _to = new();
    private readonly Budget _budget;
    private readonly string? _indent;
    private readonly (string Item, string Key) _separators;
    private readonly bool _ascii;
    private readonly bool _sorted;

    private JsonText(Budget budget, string? indent, (string, string) separators, bool ascii, bool sorted) =>
        (_budget, _indent, _separators, _ascii, _sorted) = (budget, indent, separators, ascii, sorted);

    public static Value Read(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => ReadObject(element),
        JsonValueKind.Array => Value.List([.. element.EnumerateArray().Select(Read)]),
        JsonValueKind.String => Value.Of(element.GetString()!),
        JsonValueKind.Number when element.TryGetInt64(out var whole) => Value.Of(whole),
        JsonValueKind.Number when element.GetRawText().AsSpan().IndexOfAny('.', 'e', 'E') >= 0 => new FloatValue(element.GetDouble()),
        JsonValueKind.Number => throw new JinjaException("an integer has more than 64 bits; write it as a string"),
        JsonValueKind.True => Value.True,
        JsonValueKind.False => Value.False,
        _ => Value.None,
    };

    /// <summary>The filter, with its arguments ensure_ascii, indent, separators and sort_keys.</summary>
    public static Value Write(Value value, Arguments arguments, Budget budget)
    {
        var indent = arguments.Get(1, "indent") switch
        {
            null or NoneValue => null,
            TextValue text => text.Value,
            _ => new string(' ', (int)Math.Clamp(arguments.Int(1, "indent"), 0, 64)),
        };
        var separators = arguments.Get(2, "separators") is ListValue { Items: [TextValue item, TextValue key] }
            ? (item.Value, key.Value)
            : (indent is null ? ", " : ",", ": ");
        var writer = new JsonText(budget, indent, separators, arguments.Flag(0, "ensure_ascii"), arguments.Flag(3, "sort_keys"));
        writer.Write(value, 0);
        return Value.Of(writer._to.ToString());
    }

    /// <summary>A value that came from JSON, which bounds it.</summary>
    public static string Write(Value value) => ((TextValue)Write(value, Arguments.Empty, new Budget(long.MaxValue))).Value;

    private static DictValue ReadObject(JsonElement element)
    {
        var dict = new DictValue();
        foreach (var property in element.EnumerateObject()) dict.Entries[Value.Of(property.Name)] = Read(property.Value);
        return dict;
    }

    private void Write(Value value, int level)
    {
        _budget.Enter();
        _budget.Spend(48);
        switch (value)
        {
            case TextValue text:
                WriteString(text.Value);
                break;
            case ListValue list:
                WriteAll('[', ']', list.Items, level, item => Write(item, level + 1));
                break;
            case DictValue dict:
                var entries = dict.Entries.Select(static entry => (Key: KeyOf(entry.Key), entry.Value));
                WriteAll('{', '}', [.. _sorted ? entries.OrderBy(static entry => entry.Key, StringComparer.Ordinal) : entries],
                    level, entry =>
                    {
                        WriteString(entry.Key);
                        _to.Append(_separators.Key);
                        Write(entry.Value, level + 1);
                    });
                break;
            default:
                _to.Append(Scalar(value));
                break;
        }

        _budget.Leave();
    }

    private void WriteAll<T>(char open, char close, IReadOnlyList<T> items, int level, Action<T> write)
    {
        _to.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            if (i > 0) _to.Append(_separators.Item);
            NewLine(level + 1);
            write(items[i]);
        }

        if (items.Count > 0) NewLine(level);
        _to.Append(close);
    }

    private void NewLine(int level)
    {
        if (_indent is null) return;
        _budget.SpendText((long)_indent.Length * level);
        _to.Append('\n');
        for (var i = 0; i < level; i++) _to.Append(_indent);
    }

    private void WriteString(string text)
    {
        _budget.SpendText(6L * text.Length);
        _to.Append('"');
        foreach (var character in text)
        {
            var escaped = character switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                _ => null,
            };
            if (escaped is not null) _to.Append(escaped);
            else if (character < 32 || (_ascii && character > 126)) _to.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:x4}");
            else _to.Append(character);
        }

        _to.Append('"');
    }

    private static string KeyOf(Value key) => key is TextValue text ? text.Value : Scalar(key);

    private static string Scalar(Value value) => value switch
    {
        NoneValue => "null",
        BoolValue flag => flag.Value ? "true" : "false",
        IntValue number => number.Value.ToString(CultureInfo.InvariantCulture),
        FloatValue number => double.IsNaN(number.Value) ? "NaN"
            : double.IsInfinity(number.Value) ? number.Value > 0 ? "Infinity" : "-Infinity"
            : PythonText.Of(number.Value),
        _ => throw new JinjaException($"tojson cannot write {value.Kind}; give it numbers, strings, lists and dicts"),
    };
}

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Everything a template can hold: a closed set, so that no object of the program is within its reach.</summary>
internal abstract class Value
{
    public static readonly Value None = new NoneValue();
    public static readonly Value True = new BoolValue(true);
    public static readonly Value False = new BoolValue(false);

    public static Value Of(bool value) => value ? True : False;

    public static Value Of(long value) => new IntValue(value);

    public static Value Of(string value) => new TextValue(value);

    public static Value List(IReadOnlyList<Value> items) => new ListValue(items, IsTuple: false);

    public static Value Tuple(params Value[] items) => new ListValue(items, IsTuple: true);

    /// <summary>What <c>if</c> takes it for.</summary>
    public bool IsTrue => this switch
    {
        UndefinedValue or NoneValue => false,
        BoolValue value => value.Value,
        IntValue value => value.Value != 0,
        FloatValue value => value.Value != 0,
        TextValue value => value.Value.Length > 0,
        ListValue value => value.Items.Count > 0,
        DictValue value => value.Entries.Count > 0,
        _ => true,
    };

    /// <summary>What an error message calls it.</summary>
    public string Kind => this switch
    {
        UndefinedValue value => value.What,
        NoneValue => "none",
        BoolValue => "a boolean",
        IntValue or FloatValue => "a number",
        TextValue => "a string",
        ListValue { IsTuple: true } => "a tuple",
        ListValue => "a list",
        DictValue => "a dict",
        NamespaceValue => "a namespace",
        CallableValue value => value.Name,
        _ => "a loop",
    };
}

/// <summary>A name, key or item that is not there; empty where it is printed, an error where more is asked of it.</summary>
internal sealed class UndefinedValue(string what) : Value
{
    /// <summary>For an error message, for example <c>"x", which is not defined</c>.</summary>
    public string What { get; } = what;
}

internal sealed class NoneValue : Value;

internal sealed class BoolValue(bool value) : Value
{
    public bool Value { get; } = value;
}

internal sealed class IntValue(long value) : Value
{
    public long Value { get; } = value;
}

internal sealed class FloatValue(double value) : Value
{
    public double Value { get; } = value;
}

internal sealed class TextValue(string value) : Value
{
    public string Value { get; } = value;
}

internal sealed class ListValue(IReadOnlyList<Value> Items, bool IsTuple) : Value
{
    public IReadOnlyList<Value> Items { get; } = Items;

    public bool IsTuple { get; } = IsTuple;
}

/// <summary>Entries keep their order.</summary>
internal sealed class DictValue : Value
{
    public OrderedDictionary<Value, Value> Entries { get; } = new(KeyComparer.Instance);

    public Value? this[string key] => Entries.GetValueOrDefault(Of(key));
}

/// <summary>What <c>namespace()</c> gives: the one value whose attributes can be set.</summary>
internal sealed class NamespaceValue : Value
{
    public Dictionary<string, Value> Attributes { get; } = new(StringComparer.Ordinal);
}

/// <summary>A function, macro or bound method.</summary>
internal sealed class CallableValue(string name, Func<Arguments, Value> call) : Value
{
    public string Name { get; } = name;

    public Func<Arguments, Value> Call { get; } = call;
}

/// <summary>The <c>loop</c> of a loop.</summary>
internal sealed class LoopValue(IReadOnlyList<Value> items) : Value
{
    public int Index { get; set; }

    public Value? Attribute(string name) => name switch
    {
        "index" => Of(Index + 1),
        "index0" => Of(Index),
        "revindex" => Of(items.Count - Index),
        "revindex0" => Of(items.Count - Index - 1),
        "first" => Of(Index == 0),
        "last" => Of(Index == items.Count - 1),
        "length" => Of(items.Count),
        "previtem" => Index > 0 ? items[Index - 1] : new UndefinedValue("loop.previtem of the first item"),
        "nextitem" => Index < items.Count - 1 ? items[Index + 1] : new UndefinedValue("loop.nextitem of the last item"),
        "cycle" => new CallableValue("loop.cycle", arguments => arguments.Positional.Count > 0
            ? arguments.Positional[Index % arguments.Positional.Count]
            : throw new JinjaException("loop.cycle needs an argument")),
        _ => null,
    };
}

/// <summary>Python's equality of dict keys: 1, 1.0 and true are one key.</summary>
internal sealed class KeyComparer : IEqualityComparer<Value>
{
    public static readonly KeyComparer Instance = new();

    public bool Equals(Value? x, Value? y) => (x, y) switch
    {
        (TextValue one, TextValue two) => one.Value == two.Value,
        (NoneValue, NoneValue) => true,
        _ => x is not null && y is not null && Number(x) is { } first && Number(y) is { } second && first.Equals(second),
    };

    public int GetHashCode(Value key) => key switch
    {
        TextValue text => text.Value.GetHashCode(StringComparison.Ordinal),
        NoneValue => 0,
        _ => Number(key)?.GetHashCode() ?? throw new JinjaException($"{key.Kind} cannot be the key of a dict; use a string or a number"),
    };

    private static double? Number(Value value) => value switch
    {
        BoolValue flag => flag.Value ? 1 : 0,
        IntValue number => number.Value,
        FloatValue number => number.Value,
        _ => null,
    };
}

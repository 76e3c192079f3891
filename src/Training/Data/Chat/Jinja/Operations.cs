using System.Globalization;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Python's operators on values.</summary>
internal sealed class Operations(Budget budget)
{
    private const long MaxPower = 4096;

    public string Text(Value value) => PythonText.Of(value, budget);

    public Value Concat(string left, string right)
    {
        budget.SpendText((long)left.Length + right.Length);
        return Value.Of(left + right);
    }

    public Value Binary(string sign, Value left, Value right)
    {
        if (left is UndefinedValue or NoneValue || right is UndefinedValue or NoneValue)
            throw new JinjaException($"'{sign}' was given {(left is UndefinedValue or NoneValue ? left : right).Kind}; "
                + "test it with 'is defined' or give it a default");
        return (sign, left, right) switch
        {
            ("+", TextValue one, TextValue two) => Concat(one.Value, two.Value),
            ("+", ListValue one, ListValue two) when one.IsTuple == two.IsTuple => Joined(one, two),
            ("*", TextValue text, IntValue count) => Repeated(text.Value, count.Value),
            ("*", IntValue count, TextValue text) => Repeated(text.Value, count.Value),
            ("*", ListValue list, IntValue count) => Repeated(list, count.Value),
            _ when Whole(left) is { } one && Whole(right) is { } two => Whole(sign, one, two),
            _ when Number(left) is { } one && Number(right) is { } two => Real(sign, one, two),
            _ => throw new JinjaException($"'{sign}' has no meaning for {left.Kind} and {right.Kind}"
                + (sign == "+" && (left is TextValue || right is TextValue) ? "; join with ~ to turn both into strings" : "")),
        };
    }

    public static Value Negative(Value value) => value switch
    {
        FloatValue number => new FloatValue(-number.Value),
        _ when Whole(value) is { } number and > long.MinValue => Value.Of(-number),
        _ => throw new JinjaException($"'-' has no meaning for {value.Kind}"),
    };

    public bool Compare(string sign, Value left, Value right) => sign switch
    {
        "==" => AreEqual(left, right),
        "!=" => !AreEqual(left, right),
        "<" => Order(left, right) < 0,
        "<=" => Order(left, right) <= 0,
        ">" => Order(left, right) > 0,
        ">=" => Order(left, right) >= 0,
        "in" => Contains(right, left),
        _ => !Contains(right, left),
    };

    public bool AreEqual(Value left, Value right)
    {
        budget.Enter();
        budget.Spend(48);
        PayKey(left);
        var equal = (left, right) switch
        {
            (UndefinedValue, UndefinedValue) => true,
            (ListValue one, ListValue two) => one.IsTuple == two.IsTuple && AreEqual(one.Items, two.Items),
            (DictValue one, DictValue two) => AreEqual(one, two),
            _ => ReferenceEquals(left, right) || KeyComparer.Instance.Equals(left, right),
        };
        budget.Leave();
        return equal;
    }

    /// <summary>Numbers by value, strings by code point, lists item by item.</summary>
    public int Order(Value left, Value right)
    {
        budget.Enter();
        budget.Spend(48);
        PayKey(left);
        var order = (left, right) switch
        {
            (TextValue one, TextValue two) => string.CompareOrdinal(one.Value, two.Value),
            (ListValue one, ListValue two) => Order(one.Items, two.Items),
            _ when Number(left) is { } one && Number(right) is { } two => one.CompareTo(two),
            _ => throw new JinjaException(
                $"{left.Kind} and {right.Kind} have no order; compare numbers with numbers and strings with strings"),
        };
        budget.Leave();
        return order;
    }

    public bool Contains(Value container, Value item) => container switch
    {
        TextValue text when item is TextValue part => Find(text.Value, part.Value),
        TextValue => throw new JinjaException($"'in' looks for {item.Kind} in a string; make it a string"),
        ListValue list => list.Items.Any(one => AreEqual(one, item)),
        DictValue dict => dict.Entries.ContainsKey(PayKey(item)),
        UndefinedValue => false,
        _ => throw new JinjaException($"'in' cannot look into {container.Kind}"),
    };

    /// <summary>What a loop or a filter goes through.</summary>
    public IReadOnlyList<Value> Items(Value value)
    {
        switch (value)
        {
            case ListValue list:
                return list.Items;
            case DictValue dict:
                budget.Spend(8L * dict.Entries.Count);
                return [.. dict.Entries.Keys];
            case TextValue text:
                budget.Spend(64L * text.Value.Length);
                return [.. CodePoints.Of(text.Value).Select(Value.Of)];
            case UndefinedValue:
                return [];
            default:
                throw new JinjaException($"{value.Kind} cannot be gone through; give a list, a dict or a string");
        }
    }

    public Value Item(Value of, Value key)
    {
        PayKey(key);
        if (of is UndefinedValue missing) throw new JinjaException($"an item is asked of {missing.What}; test it with 'is defined' first");
        switch (of)
        {
            case DictValue dict when key is not (ListValue or DictValue or NamespaceValue or CallableValue or LoopValue or UndefinedValue):
                if (dict.Entries.TryGetValue(key, out var found)) return found;
                break;
            case ListValue list when Whole(key) is { } index:
                if (index < 0) index += list.Items.Count;
                return index >= 0 && index < list.Items.Count
                    ? list.Items[(int)index]
                    : new UndefinedValue($"item {index} of {list.Items.Count}");
            case TextValue text when Whole(key) is { } place:
                return At(text.Value, place);
        }

        return key is TextValue name && Methods.Attribute(of, name.Value, this, budget) is { } attribute
            ? attribute
            : new UndefinedValue($"{Shown(key)}, which {of.Kind} does not have");
    }

    /// <summary><c>a.b</c>: a method or attribute, else the key of a dict.</summary>
    public Value Attribute(Value of, string name)
    {
        if (of is UndefinedValue missing)
            throw new JinjaException($"the attribute {name} is asked of {missing.What}; test it with 'is defined' first");
        return Methods.Attribute(of, name, this, budget) ?? (of as DictValue)?[name]
            ?? new UndefinedValue($"\"{name}\", which {of.Kind} does not have");
    }

    public Value Slice(Value of, long? start, long? stop, long? step)
    {
        var by = step ?? 1;
        if (by == 0) throw new JinjaException("the step of a slice is 0; make it 1 or -1");
        if (of is TextValue text)
        {
            var points = CodePoints.Of(text.Value);
            budget.Spend(32L * text.Value.Length);
            return Value.Of(string.Concat(Places(points.Count, start, stop, by).Select(place => points[place])));
        }

        if (of is not ListValue list) throw new JinjaException($"{of.Kind} has no slices; give a list or a string");
        budget.Spend(8L * list.Items.Count);
        return new ListValue([.. Places(list.Items.Count, start, stop, by).Select(place => list.Items[place])], list.IsTuple);
    }

    public static long? Whole(Value value) => value switch
    {
        IntValue number => number.Value,
        BoolValue flag => flag.Value ? 1 : 0,
        _ => null,
    };

    public static double? Number(Value value) => value is FloatValue number ? number.Value : Whole(value);

    /// <summary>Pays for the hash or the comparison of a key.</summary>
    public Value PayKey(Value key)
    {
        if (key is TextValue text) budget.SpendLook(text.Value);
        return key;
    }

    private bool AreEqual(IReadOnlyList<Value> one, IReadOnlyList<Value> two)
    {
        if (one.Count != two.Count) return false;
        for (var i = 0; i < one.Count; i++)
            if (!AreEqual(one[i], two[i])) return false;
        return true;
    }

    private bool AreEqual(DictValue one, DictValue two)
    {
        if (one.Entries.Count != two.Entries.Count) return false;
        for (var i = 0; i < one.Entries.Count; i++)
        {
            var (key, value) = one.Entries.GetAt(i);
            if (!two.Entries.TryGetValue(PayKey(key), out var other) || !AreEqual(value, other)) return false;
        }

        return true;
    }

    private int Order(IReadOnlyList<Value> one, IReadOnlyList<Value> two)
    {
        for (var i = 0; i < one.Count && i < two.Count; i++)
            if (Order(one[i], two[i]) is not 0 and var order) return order;
        return one.Count.CompareTo(two.Count);
    }

    private static string Shown(Value key) => key is TextValue text
        ? $"\"{(text.Value.Length > 40 ? text.Value[..40] : text.Value).ReplaceLineEndings(" ")}\""
        : Number(key) is { } number ? number.ToString(CultureInfo.InvariantCulture)
        : key.Kind;

    private static IEnumerable<int> Places(int count, long? start, long? stop, long step)
    {
        long Clamp(long place, long low, long high) => Math.Clamp(place < 0 ? Math.Max(place, -count - 1) + count : place, low, high);
        if (step > 0)
        {
            var (from, to) = (Clamp(start ?? 0, 0, count), Clamp(stop ?? count, 0, count));
            for (var place = from; place < to && place >= 0; place = step > count ? to : place + step) yield return (int)place;
        }
        else
        {
            var (from, to) = (Clamp(start ?? count, -1, count - 1), stop is null ? -1 : Clamp(stop.Value, -1, count - 1));
            for (var place = from; place > to; place = step < -count ? to : place + step) yield return (int)place;
        }
    }

    private Value At(string text, long index)
    {
        budget.Spend(32L * text.Length);
        var points = CodePoints.Of(text);
        if (index < 0) index += points.Count;
        return index >= 0 && index < points.Count
            ? Value.Of(points[(int)index])
            : new UndefinedValue($"character {index} of {points.Count}");
    }

    private bool Find(string text, string part)
    {
        budget.SpendSearch(text, part);
        return text.Contains(part, StringComparison.Ordinal);
    }

    private ListValue Joined(ListValue one, ListValue two)
    {
        budget.Spend(8L * (one.Items.Count + two.Items.Count));
        return new([.. one.Items, .. two.Items], one.IsTuple);
    }

    private Value Repeated(string text, long count)
    {
        count = Math.Max(0, count);
        if (text.Length > 0 && count > int.MaxValue / text.Length)
            throw new JinjaException($"a string of {text.Length} characters times {count} is too long");
        budget.SpendText(text.Length * count);
        return Value.Of(string.Concat(Enumerable.Repeat(text, text.Length == 0 ? 0 : (int)count)));
    }

    private ListValue Repeated(ListValue list, long count)
    {
        count = Math.Max(0, count);
        if (list.Items.Count > 0 && count > int.MaxValue / list.Items.Count)
            throw new JinjaException($"a list of {list.Items.Count} items times {count} is too long");
        budget.Spend(16 * list.Items.Count * count);
        return new([.. Enumerable.Repeat(list.Items, list.Items.Count == 0 ? 0 : (int)count).SelectMany(static items => items)],
            list.IsTuple);
    }

    private static Value Whole(string sign, long one, long two)
    {
        try
        {
            return sign switch
            {
                "+" => Value.Of(checked(one + two)),
                "-" => Value.Of(checked(one - two)),
                "*" => Value.Of(checked(one * two)),
                "/" => new FloatValue((double)one / NotZero(two)),
                "//" => Value.Of(checked(one / NotZero(two)) - (one % two != 0 && (one < 0) != (two < 0) ? 1 : 0)),
                "%" => Value.Of(
                    two == -1 ? 0 : one % NotZero(two) is var rest && rest != 0 && (rest < 0) != (two < 0) ? rest + two : one % two),
                _ when two < 0 => new FloatValue(Math.Pow(NotZero(one), two)),
                _ => Value.Of(Power(one, two)),
            };
        }
        catch (OverflowException)
        {
            throw new JinjaException($"{one} {sign} {two} has more than 64 bits");
        }
    }

    private static long Power(long one, long two)
    {
        if (two > MaxPower) return one is 0 or 1 ? one : one == -1 ? (two % 2 == 0 ? 1 : -1) : throw new OverflowException();
        var result = 1L;
        for (var i = 0L; i < two; i++) result = checked(result * one);
        return result;
    }

    private static FloatValue Real(string sign, double one, double two) => new(sign switch
    {
        "+" => one + two,
        "-" => one - two,
        "*" => one * two,
        "/" => one / NotZero(two),
        "//" => Math.Floor(one / NotZero(two)),
        "%" => one - two * Math.Floor(one / NotZero(two)),
        _ => Math.Pow(one, two),
    });

    private static long NotZero(long value) => value != 0 ? value : throw new JinjaException("a division by 0");

    private static double NotZero(double value) => value != 0 ? value : throw new JinjaException("a division by 0");
}

/// <summary>Python counts characters by code point, .NET by UTF-16 unit.</summary>
internal static class CodePoints
{
    public static IReadOnlyList<string> Of(string text)
    {
        var points = new List<string>(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            var isPair = char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]);
            points.Add(isPair ? text.Substring(i++, 2) : text[i].ToString());
        }

        return points;
    }

    public static int Count(string text)
    {
        var count = text.Length;
        for (var i = 1; i < text.Length; i++)
            if (char.IsLowSurrogate(text[i]) && char.IsHighSurrogate(text[i - 1])) count--;
        return count;
    }
}

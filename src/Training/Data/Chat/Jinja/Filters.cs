using System.Globalization;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>The filters by name, and <c>map</c>, <c>select</c> and their relatives, which take the name of another.</summary>
internal sealed class Filters(Operations operations, Tests tests, Budget budget)
{
    private delegate Value Function(Filters self, Value value, Arguments arguments);

    private static readonly Dictionary<string, Function> All = new(StringComparer.Ordinal)
    {
        ["trim"] = static (self, value, arguments) => self.Trim(value, arguments.TextOrNull(0, "chars")),
        ["upper"] = static (self, value, _) => self.OnText(value, static text => text.ToUpperInvariant()),
        ["lower"] = static (self, value, _) => self.OnText(value, static text => text.ToLowerInvariant()),
        ["capitalize"] = static (self, value, _) => self.OnText(value, Methods.Capitalize),
        ["title"] = static (self, value, _) => self.OnText(value,
            static text => Methods.Title(text, static before => char.IsWhiteSpace(before) || "-({[<".Contains(before))),
        ["string"] = static (self, value, _) => self.OnText(value, static text => text),
        ["safe"] = static (_, value, _) => value,
        ["replace"] = static (self, value, arguments) => Value.Of(Methods.Replace(self.Text(value), arguments.Text(0, "old"),
            arguments.Text(1, "new"), arguments.IntOrNull(2, "count") ?? -1, self.Budget)),
        ["indent"] = static (self, value, arguments) => self.Indent(value, arguments),
        ["escape"] = static (self, value, _) => self.Escape(value),
        ["e"] = static (self, value, _) => self.Escape(value),
        ["tojson"] = static (self, value, arguments) => JsonText.Write(value, arguments, self.Budget),
        ["default"] = static (_, value, arguments) => Default(value, arguments),
        ["d"] = static (_, value, arguments) => Default(value, arguments),
        ["length"] = static (self, value, _) => self.Length(value),
        ["count"] = static (self, value, _) => self.Length(value),
        ["first"] = static (self, value, _) => self.Items(value) is [var first, ..] ? first : new UndefinedValue("the first of no items"),
        ["last"] = static (self, value, _) => self.Items(value) is [.., var last] ? last : new UndefinedValue("the last of no items"),
        ["list"] = static (self, value, _) => Value.List(self.Items(value)),
        ["items"] = static (self, value, _) => self.Pairs(value),
        ["dictsort"] = static (self, value, arguments) => self.DictSort(value, arguments),
        ["join"] = static (self, value, arguments) => self.Join(value, arguments),
        ["reverse"] = static (self, value, _) => self.Operations.Slice(value is TextValue ? value : Value.List(self.Items(value)),
            null, null, -1),
        ["sort"] = static (self, value, arguments) => self.Sort(value, arguments),
        ["unique"] = static (self, value, arguments) => self.Unique(value, arguments),
        ["sum"] = static (self, value, arguments) => self.Items(value).Select(self.Selector(arguments.Get(0, "attribute")))
            .Aggregate(arguments.Get(1, "start") ?? Value.Of(0), (one, two) => self.Operations.Binary("+", one, two)),
        ["min"] = static (self, value, arguments) => self.Extreme(value, arguments, -1),
        ["max"] = static (self, value, arguments) => self.Extreme(value, arguments, 1),
        ["map"] = static (self, value, arguments) => self.Map(value, arguments),
        ["select"] = static (self, value, arguments) => self.Select(value, arguments, byAttribute: false, keep: true),
        ["reject"] = static (self, value, arguments) => self.Select(value, arguments, byAttribute: false, keep: false),
        ["selectattr"] = static (self, value, arguments) => self.Select(value, arguments, byAttribute: true, keep: true),
        ["rejectattr"] = static (self, value, arguments) => self.Select(value, arguments, byAttribute: true, keep: false),
        ["attr"] = static (self, value, arguments) => Methods.Attribute(value, arguments.Text(0, "name"), self.Operations, self.Budget)
            ?? new UndefinedValue($"the attribute {arguments.Text(0, "name")}"),
        ["abs"] = static (_, value, _) => Operations.Number(value) < 0 ? Operations.Negative(value) : Numeric(value, "abs"),
        ["int"] = static (_, value, arguments) => Int(value, arguments),
        ["float"] = static (_, value, arguments) => Float(value, arguments),
        ["round"] = static (_, value, arguments) => Round(value, arguments),
    };

    private Operations Operations => operations;

    private Budget Budget => budget;

    public Value Apply(string name, Value value, Arguments arguments) => All.TryGetValue(name, out var filter)
        ? filter(this, value, arguments)
        : throw new JinjaException($"there is no filter {name}; known are {string.Join(", ", All.Keys.Order(StringComparer.Ordinal))}");

    private string Text(Value value) => operations.Text(value);

    private IReadOnlyList<Value> Items(Value value) => operations.Items(value);

    private Value OnText(Value value, Func<string, string> function)
    {
        var text = Text(value);
        budget.SpendText(text.Length);
        return Value.Of(function(text));
    }

    private Value Trim(Value value, string? characters) => OnText(value, text =>
    {
        budget.SpendSearch(text, characters ?? "");
        return Methods.Strip(text, characters, true, true);
    });

    private static Value Default(Value value, Arguments arguments) =>
        value is UndefinedValue || (arguments.Flag(1, "boolean") && !value.IsTrue)
            ? arguments.Get(0, "default_value") ?? Value.Of("") : value;

    private Value Length(Value value) => Value.Of(value switch
    {
        TextValue text => Count(text.Value),
        ListValue list => list.Items.Count,
        DictValue dict => dict.Entries.Count,
        UndefinedValue => 0,
        _ => throw new JinjaException($"{value.Kind} has no length; give a list, a dict or a string"),
    });

    private int Count(string text)
    {
        budget.SpendLook(text);
        return CodePoints.Count(text);
    }

    private Value Escape(Value value)
    {
        var text = Text(value);
        budget.SpendText(6L * text.Length);
        return Value.Of(text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal)
            .Replace(">", "&gt;", StringComparison.Ordinal)
            .Replace("\"", "&#34;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal));
    }

    // Lines after the first, unless told otherwise; blank ones stay blank.
    private Value Indent(Value value, Arguments arguments)
    {
        var by = arguments.Get(0, "width") switch
        {
            null => "    ",
            TextValue width => width.Value,
            _ => new string(' ', (int)Math.Clamp(arguments.Int(0, "width"), 0, 64)),
        };
        var (first, blank) = (arguments.Flag(1, "first"), arguments.Flag(2, "blank"));
        var text = Text(value);
        budget.Spend(32L * text.Length);
        var lines = text.Split('\n');
        budget.SpendText(lines.Sum(line => 32L + 2 * (line.Length + by.Length)));
        return Value.Of(string.Join('\n',
            lines.Select((line, i) => i == 0 ? (first ? by + line : line) : line.Length > 0 || blank ? by + line : line)));
    }

    private Value Join(Value value, Arguments arguments)
    {
        var separator = arguments.Get(0, "d") is { } given ? Text(given) : "";
        return Value.Of(Methods.Join(separator,
            [.. Items(value).Select(Selector(arguments.Get(1, "attribute"))).Select(item => Value.Of(Text(item)))], budget));
    }

    private Value Pairs(Value value) => value switch
    {
        UndefinedValue => Value.List([]),
        DictValue dict => Value.List([.. dict.Entries.Select(Pair)]),
        _ => throw new JinjaException($"items was given {value.Kind}; give a dict"),
    };

    private Value Pair(KeyValuePair<Value, Value> entry)
    {
        budget.Spend(96);
        return Value.Tuple(entry.Key, entry.Value);
    }

    private Value DictSort(Value value, Arguments arguments)
    {
        var place = arguments.TextOrNull(1, "by") == "value" ? 1 : 0;
        return Value.List(Sorted(((ListValue)Pairs(value)).Items, pair => ((ListValue)pair).Items[place], arguments.Flag(2, "reverse"),
            arguments.Flag(0, "case_sensitive")));
    }

    private Value Sort(Value value, Arguments arguments) => Value.List(
        Sorted(Items(value), Selector(arguments.Get(2, "attribute")), arguments.Flag(0, "reverse"), arguments.Flag(1, "case_sensitive")));

    private List<Value> Sorted(IReadOnlyList<Value> items, Func<Value, Value> key, bool descending, bool caseSensitive)
    {
        budget.Spend(64L * items.Count);
        var keyed = items.Select(item => (Item: item, Key: Folded(key(item), caseSensitive)));
        var comparer = Comparer<Value>.Create(operations.Order);
        try
        {
            return [.. (descending
                ? keyed.OrderByDescending(static pair => pair.Key, comparer)
                : keyed.OrderBy(static pair => pair.Key, comparer)).Select(static pair => pair.Item)];
        }
        catch (InvalidOperationException exception) when (exception.InnerException is JinjaException problem)
        {
            throw new JinjaException(problem.Message);
        }
    }

    private Value Folded(Value key, bool caseSensitive) =>
        key is TextValue && !caseSensitive ? OnText(key, static text => text.ToLowerInvariant()) : key;

    private Value Unique(Value value, Arguments arguments)
    {
        var (seen, kept, key) = (new List<Value>(), new List<Value>(), Selector(arguments.Get(1, "attribute")));
        foreach (var item in Items(value))
        {
            budget.Spend(32);
            var folded = Folded(key(item), arguments.Flag(0, "case_sensitive"));
            if (seen.Any(other => operations.AreEqual(other, folded))) continue;
            seen.Add(folded);
            kept.Add(item);
        }

        return Value.List(kept);
    }

    private Value Extreme(Value value, Arguments arguments, int sign)
    {
        var key = Selector(arguments.Get(1, "attribute"));
        Value? best = null;
        foreach (var item in Items(value))
            if (best is null || operations.Order(Folded(key(item), arguments.Flag(0, "case_sensitive")),
                Folded(key(best), arguments.Flag(0, "case_sensitive"))) * sign > 0) best = item;
        return best ?? new UndefinedValue("the extreme of no items");
    }

    private Value Map(Value value, Arguments arguments)
    {
        var items = Items(value);
        budget.Spend(32L * items.Count);
        if (arguments.Named.GetValueOrDefault("attribute") is { } attribute)
        {
            var (selector, missing) = (Selector(attribute), arguments.Named.GetValueOrDefault("default"));
            return Value.List(
                [.. items.Select(item => selector(item) is UndefinedValue undefined ? missing ?? undefined : selector(item))]);
        }

        var (name, rest) = (arguments.Text(0, "filter"), arguments.Skip(1));
        budget.Enter();
        var mapped = Value.List([.. items.Select(item => Apply(name, item, rest))]);
        budget.Leave();
        return mapped;
    }

    private Value Select(Value value, Arguments arguments, bool byAttribute, bool keep)
    {
        var items = Items(value);
        budget.Spend(32L * items.Count);
        var of = byAttribute ? Selector(arguments.Need(0, "attribute")) : static item => item;
        var rest = byAttribute ? arguments.Skip(1) : arguments;
        if (rest.Positional.Count == 0) return Value.List([.. items.Where(item => of(item).IsTrue == keep)]);
        var (name, more) = (rest.Text(0, "test"), rest.Skip(1));
        return Value.List([.. items.Where(item => tests.Holds(name, of(item), more) == keep)]);
    }

    // A name, a path of names and places with points between, or a place.
    private Func<Value, Value> Selector(Value? attribute)
    {
        if (attribute is null or NoneValue) return static item => item;
        Value[] path = attribute is TextValue text
            ? [.. text.Value.Split('.').Select(static part =>
                long.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var place) ? Value.Of(place) : Value.Of(part))]
            : [attribute];
        return item => path.Aggregate(item, (of, key) =>
        {
            budget.Spend(48);
            return operations.Item(of, key);
        });
    }

    private static Value Numeric(Value value, string filter) =>
        Operations.Number(value) is not null ? value : throw new JinjaException($"{filter} was given {value.Kind}; give a number");

    private static Value Int(Value value, Arguments arguments)
    {
        if (Operations.Whole(value) is { } whole) return Value.Of(whole);
        var number = value is TextValue text
            ? double.TryParse(text.Value.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out var parsed) ? parsed : null
            : Operations.Number(value);
        if (value is TextValue digits
            && long.TryParse(digits.Value.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var exact))
            return Value.Of(exact);
        return number is > long.MinValue and < long.MaxValue ? Value.Of((long)number) : arguments.Get(0, "default") ?? Value.Of(0);
    }

    private static Value Float(Value value, Arguments arguments)
    {
        var number = value is TextValue text
            ? double.TryParse(text.Value.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out var parsed) ? parsed : null
            : Operations.Number(value);
        return number is { } known ? new FloatValue(known) : arguments.Get(0, "default") ?? new FloatValue(0);
    }

    private static FloatValue Round(Value value, Arguments arguments)
    {
        var number = Operations.Number(Numeric(value, "round"))!.Value;
        var scale = Math.Pow(10, Math.Clamp(arguments.IntOrNull(0, "precision") ?? 0, -15, 15));
        return new(arguments.TextOrNull(1, "method") switch
        {
            null or "common" => Math.Round(number * scale, MidpointRounding.ToEven) / scale,
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            var other => throw new JinjaException($"round knows no method {other}; use common, ceil or floor"),
        });
    }
}

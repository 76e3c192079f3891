namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>What a value can do by itself: the methods of Python that read. Those that change a value do not exist here.</summary>
internal static class Methods
{
    /// <summary>A method or attribute by name; null where the value has none of that name.</summary>
    public static Value? Attribute(Value of, string name, Operations operations, Budget budget) => of switch
    {
        NamespaceValue space => space.Attributes.GetValueOrDefault(name),
        LoopValue loop => loop.Attribute(name),
        TextValue text => Bound(name, Paid(text.Value, OfText(text.Value, name, operations, budget), budget)),
        DictValue dict => Bound(name, OfDict(dict, name, operations, budget)),
        ListValue list => Bound(name, OfList(list, name, operations)),
        _ => null,
    };

    private static CallableValue? Bound(string name, Func<Arguments, Value>? method) => method is null ? null : new(name, method);

    private static Func<Arguments, Value>? OfDict(DictValue dict, string name, Operations operations, Budget budget) => name switch
    {
        "get" => arguments => dict.Entries.GetValueOrDefault(operations.PayKey(arguments.Need(0, "key"))) ?? arguments.Get(1, "default")
            ?? Value.None,
        "keys" => _ => Paid(dict, budget, static entry => entry.Key),
        "values" => _ => Paid(dict, budget, static entry => entry.Value),
        "items" => _ => Paid(dict, budget, static entry => Value.Tuple(entry.Key, entry.Value)),
        _ => null,
    };

    private static Func<Arguments, Value>? Paid(string text, Func<Arguments, Value>? method, Budget budget) =>
        method is null ? null : arguments =>
        {
            if (arguments.Get(0, "") is TextValue part) budget.SpendSearch(text, part.Value);
            else budget.SpendLook(text);
            return method(arguments);
        };

    private static Value Paid(DictValue dict, Budget budget, Func<KeyValuePair<Value, Value>, Value> of)
    {
        budget.Spend(96L * dict.Entries.Count);
        return Value.List([.. dict.Entries.Select(of)]);
    }

    private static Func<Arguments, Value>? OfList(ListValue list, string name, Operations operations) => name switch
    {
        "index" => arguments => Value.Of(IndexOf(list, arguments.Need(0, "value"), operations)),
        "count" => arguments => Value.Of(list.Items.Count(item => operations.AreEqual(item, arguments.Need(0, "value")))),
        "append" or "extend" or "insert" or "pop" or "remove" or "clear" or "sort" or "reverse" =>
            _ => throw new JinjaException($"a list cannot be changed by {name}; set a new one, for example ns.items = ns.items + [x]"),
        _ => null,
    };

    private static int IndexOf(ListValue list, Value item, Operations operations)
    {
        for (var i = 0; i < list.Items.Count; i++)
            if (operations.AreEqual(list.Items[i], item)) return i;
        throw new JinjaException("index finds no such item; test it with 'in' first");
    }

    private static Func<Arguments, Value>? OfText(string text, string name, Operations operations, Budget budget)
    {
        // What a method gives is at most as long as the text, times three where case changes lengthen;
        // replace and join count for themselves.
        Func<Arguments, Value> Text(Func<Arguments, string> method) => arguments =>
        {
            budget.SpendText(text.Length);
            return Value.Of(method(arguments));
        };
        Func<Arguments, Value> Flag(Func<Arguments, bool> method) => arguments => Value.Of(method(arguments));
        Func<Arguments, Value> All(Func<char, bool> belongs) => _ => Value.Of(text.Length > 0 && text.All(belongs));
        return name switch
        {
            "strip" => Text(arguments => Strip(text, arguments.TextOrNull(0, "chars"), true, true)),
            "lstrip" => Text(arguments => Strip(text, arguments.TextOrNull(0, "chars"), true, false)),
            "rstrip" => Text(arguments => Strip(text, arguments.TextOrNull(0, "chars"), false, true)),
            "upper" => Text(_ => text.ToUpperInvariant()),
            "lower" => Text(_ => text.ToLowerInvariant()),
            "title" => Text(_ => Title(text)),
            "capitalize" => Text(_ => Capitalize(text)),
            "swapcase" =>
                Text(_ => string.Concat(text.Select(static c => char.IsUpper(c) ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c)))),
            "removeprefix" => Text(arguments => text.StartsWith(arguments.Text(0, "prefix"), StringComparison.Ordinal)
                ? text[arguments.Text(0, "prefix").Length..] : text),
            "removesuffix" => Text(arguments => text.EndsWith(arguments.Text(0, "suffix"), StringComparison.Ordinal)
                ? text[..^arguments.Text(0, "suffix").Length] : text),
            "replace" => arguments => Value.Of(
                Replace(text, arguments.Text(0, "old"), arguments.Text(1, "new"), arguments.IntOrNull(2, "count") ?? -1, budget)),
            "startswith" => Flag(arguments => AnyOf(arguments.Need(0, "prefix"), part => text.StartsWith(part, StringComparison.Ordinal))),
            "endswith" => Flag(arguments => AnyOf(arguments.Need(0, "suffix"), part => text.EndsWith(part, StringComparison.Ordinal))),
            "split" => arguments => Split(text, arguments.TextOrNull(0, "sep"), arguments.IntOrNull(1, "maxsplit") ?? -1, budget),
            "rsplit" => arguments => SplitFromEnd(text, arguments.TextOrNull(0, "sep"), arguments.IntOrNull(1, "maxsplit") ?? -1, budget),
            "splitlines" => _ => Lines(text, budget),
            "join" => arguments => Value.Of(Join(text, operations.Items(arguments.Need(0, "items")), budget)),
            "find" => arguments => Value.Of(Place(text, text.IndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal))),
            "rfind" => arguments => Value.Of(Place(text, text.LastIndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal))),
            "index" => arguments => text.IndexOf(arguments.Text(0, "sub"), StringComparison.Ordinal) is >= 0 and var at
                ? Value.Of(Place(text, at))
                : throw new JinjaException("index finds no such text; use find"),
            "count" => arguments => Value.Of(Occurrences(text, arguments.Text(0, "sub"), budget)),
            "isdigit" or "isnumeric" or "isdecimal" => All(char.IsDigit),
            "isalpha" => All(char.IsLetter),
            "isalnum" => All(char.IsLetterOrDigit),
            "isspace" => All(char.IsWhiteSpace),
            "isupper" => Flag(_ => text.Any(char.IsUpper) && !text.Any(char.IsLower)),
            "islower" => Flag(_ => text.Any(char.IsLower) && !text.Any(char.IsUpper)),
            "format" => _ => throw new JinjaException("format is not supported; join with ~"),
            _ => null,
        };
    }

    public static string Strip(string text, string? characters, bool left, bool right)
    {
        bool Belongs(char c) => characters is null ? char.IsWhiteSpace(c) : characters.Contains(c);
        var (from, to) = (0, text.Length);
        while (left && from < to && Belongs(text[from])) from++;
        while (right && to > from && Belongs(text[to - 1])) to--;
        return text[from..to];
    }

    public static string Capitalize(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    public static string Title(string text) => Title(text, static before => !char.IsLetter(before));

    /// <param name="text">Text.</param>
    /// <param name="begins">Whether a word begins after a character: the method and the filter differ in it.</param>
    public static string Title(string text, Func<char, bool> begins) => string.Create(text.Length, (text, begins), static (to, from) =>
    {
        for (var i = 0; i < to.Length; i++)
            to[i] = i == 0 || from.begins(from.text[i - 1]) ? char.ToUpperInvariant(from.text[i]) : char.ToLowerInvariant(from.text[i]);
    });

    public static string Join(string separator, IReadOnlyList<Value> items, Budget budget)
    {
        var texts = items.Select(item => item is TextValue text
            ? text.Value
            : throw new JinjaException($"join was given {item.Kind} among its items; map them to strings first")).ToList();
        budget.SpendText(texts.Sum(static text => (long)text.Length) + (long)separator.Length * texts.Count);
        return string.Join(separator, texts);
    }

    /// <param name="text">Text.</param>
    /// <param name="old">What is replaced; the empty text stands between all characters.</param>
    /// <param name="by">What replaces it.</param>
    /// <param name="count">At most so many times; negative for all.</param>
    /// <param name="budget">Pays before anything is made.</param>
    public static string Replace(string text, string old, string by, long count, Budget budget)
    {
        var found = Occurrences(text, old, budget);
        if (count < 0 || count > found) count = found;
        if (count == 0) return text;
        budget.SpendText(2 * (text.Length + count * by.Length));
        var result = new System.Text.StringBuilder();
        var at = 0;
        if (old.Length == 0)
        {
            foreach (var point in CodePoints.Of(text)) result.Append(count-- > 0 ? by : "").Append(point);
            return result.Append(count > 0 ? by : "").ToString();
        }

        for (; count > 0; count--)
        {
            var next = text.IndexOf(old, at, StringComparison.Ordinal);
            result.Append(text, at, next - at).Append(by);
            at = next + old.Length;
        }

        return result.Append(text, at, text.Length - at).ToString();
    }

    private static long Occurrences(string text, string part, Budget budget)
    {
        budget.SpendSearch(text, part);
        if (part.Length == 0) budget.Spend(32L * text.Length);
        if (part.Length == 0) return CodePoints.Count(text) + 1;
        var count = 0;
        for (var at = 0; (at = text.IndexOf(part, at, StringComparison.Ordinal)) >= 0; at += part.Length) count++;
        return count;
    }

    private static Value Split(string text, string? separator, long max, Budget budget)
    {
        if (separator is { Length: 0 }) throw new JinjaException("split was given an empty separator");
        budget.SpendText(text.Length);
        var parts = new List<Value>();
        var at = 0;
        if (separator is null)
        {
            for (at = SkipSpace(text, at); at < text.Length; at = SkipSpace(text, at))
            {
                budget.Spend(64);
                var end = at;
                if (max >= 0 && parts.Count >= max) end = text.TrimEnd().Length;
                else while (end < text.Length && !char.IsWhiteSpace(text[end])) end++;
                parts.Add(Value.Of(text[at..end]));
                at = end;
            }

            return Value.List(parts);
        }

        for (int next; (max < 0 || parts.Count < max)
            && (next = text.IndexOf(separator, at, StringComparison.Ordinal)) >= 0; at = next + separator.Length)
        {
            budget.Spend(64);
            parts.Add(Value.Of(text[at..next]));
        }

        parts.Add(Value.Of(text[at..]));
        return Value.List(parts);
    }

    private static Value SplitFromEnd(string text, string? separator, long max, Budget budget)
    {
        if (max < 0) return Split(text, separator, max, budget);
        if (string.IsNullOrEmpty(separator)) throw new JinjaException("rsplit needs a separator where it has a bound");
        budget.SpendText(text.Length);
        var parts = new List<Value>();
        var end = text.Length;
        for (int at; parts.Count < max && end > 0 && (at = text.AsSpan(0, end).LastIndexOf(separator)) >= 0; end = at)
        {
            budget.Spend(64);
            parts.Add(Value.Of(text[(at + separator.Length)..end]));
        }

        parts.Add(Value.Of(text[..end]));
        parts.Reverse();
        return Value.List(parts);
    }

    private static Value Lines(string text, Budget budget)
    {
        budget.Spend(66L * text.Length);
        var lines = text.ReplaceLineEndings("\n").Split('\n');
        return Value.List([.. (lines[^1].Length == 0 ? lines[..^1] : lines).Select(Value.Of)]);
    }

    private static int SkipSpace(string text, int at)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at])) at++;
        return at;
    }

    private static int Place(string text, int unit) => unit < 0 ? -1 : CodePoints.Count(text[..unit]);

    private static bool AnyOf(Value parts, Func<string, bool> test) => parts switch
    {
        TextValue part => test(part.Value),
        ListValue { IsTuple: true } tuple => tuple.Items.Any(part => AnyOf(part, test)),
        _ => throw new JinjaException($"startswith and endswith were given {parts.Kind}; give a string or a tuple of strings"),
    };
}

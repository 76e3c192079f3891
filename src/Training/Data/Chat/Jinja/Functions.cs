using System.Globalization;
using System.Text;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>The functions that every template can call.</summary>
internal static class Functions
{
    private const int MaxRange = 100_000;

    /// <param name="now">What <c>strftime_now</c> writes.</param>
    /// <param name="budget">Pays for what they make.</param>
    public static Dictionary<string, Value> All(DateTimeOffset now, Budget budget) => ((CallableValue[])
    [
        new("range", arguments => Range(arguments, budget)),
        new("dict", arguments => Dict(arguments, budget)),
        new("namespace", arguments => Namespace(arguments, budget)),
        new("raise_exception",
            static arguments => throw new JinjaException($"the template refuses the conversation: {arguments.Text(0, "message")}")),
        new("strftime_now", arguments => Value.Of(Strftime(now, arguments.Text(0, "format"), budget))),
    ]).ToDictionary(static function => function.Name, static function => (Value)function, StringComparer.Ordinal);

    private static Value Range(Arguments arguments, Budget budget)
    {
        var single = arguments.Positional.Count == 1;
        var (start, stop, step) = (single ? 0 : arguments.Int(0, "start"), arguments.Int(single ? 0 : 1, "stop"),
            arguments.IntOrNull(2, "step") ?? 1);
        if (step == 0) throw new JinjaException("the step of a range is 0");
        var count = Int128.Max(0, ((Int128)stop - start + step - Math.Sign(step)) / step);
        if (count > MaxRange) throw new JinjaException($"a range of {count} numbers; at most {MaxRange} are made");
        budget.Spend(40 * (long)count);
        return Value.List([.. Enumerable.Range(0, (int)count).Select(i => Value.Of(start + i * step))]);
    }

    private static DictValue Dict(Arguments arguments, Budget budget)
    {
        var dict = new DictValue();
        if (arguments.Positional.Count > 0)
        {
            if (arguments.Positional[0] is not DictValue from)
                throw new JinjaException($"dict was given {arguments.Positional[0].Kind}; give a dict or named arguments");
            budget.Spend(96L * from.Entries.Count);
            foreach (var (key, value) in from.Entries) dict.Entries[key] = value;
        }

        foreach (var (key, value) in arguments.Named) dict.Entries[Value.Of(key)] = value;
        return dict;
    }

    private static NamespaceValue Namespace(Arguments arguments, Budget budget)
    {
        var space = new NamespaceValue();
        foreach (var (key, value) in Dict(arguments, budget).Entries)
            space.Attributes[key is TextValue name
                ? name.Value
                : throw new JinjaException($"namespace was given the key {key.Kind}; make it a string")] = value;
        return space;
    }

    private static string Strftime(DateTimeOffset now, string format, Budget budget)
    {
        budget.SpendText(10L * format.Length);
        var text = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length) text.Append(format[i]);
            else if (format[++i] == '-' && i + 1 < format.Length)
                text.Append(Part(now, format[++i]).TrimStart('0') is { Length: > 0 } short_ ? short_ : "0");
            else text.Append(Part(now, format[i]));
        }

        return text.ToString();
    }

    private static string Part(DateTimeOffset now, char letter) => letter == '%' ? "%" : now.ToString(letter switch
    {
        'd' => "dd", 'm' => "MM", 'Y' => "yyyy", 'y' => "yy", 'b' => "MMM", 'B' => "MMMM", 'a' => "ddd", 'A' => "dddd",
        'H' => "HH", 'I' => "hh", 'M' => "mm", 'S' => "ss", 'p' => "tt", 'F' => "yyyy-MM-dd", 'T' => "HH:mm:ss", 'D' => "MM/dd/yy",
        'f' => "ffffff",
        'j' => $"'{now.DayOfYear:000}'",
        _ => throw new JinjaException(
            $"strftime_now does not know %{(char.IsAsciiLetterOrDigit(letter) ? letter : '?')}; use for example %d %b %Y"),
    }, CultureInfo.InvariantCulture);
}

namespace FedRLora.Training.Tests.Chat;

/// <summary>Random templates that parse: values of every kind meet every operator, filter, test, method and statement.</summary>
internal sealed class TemplateComposer(Random random)
{
    private static readonly string[] Atoms =
    [
        "messages", "messages[0]", "messages[-1].content", "tools", "none", "true", "0", "1", "-3", "7", "2.5", "1e300",
        "9223372036854775807", "''", "'abc'", "'é😀 x'", "' a,b '", "[]", "[1, 'a', none]", "(1, 2)", "{}", "{'a': 1, 'content': [2]}",
        "{1: 2, none: 3}", "zzz", "a", "b", "ns", "ns.x", "loop", "loop.index", "range(5)", "range", "namespace(x=[1])", "dict(a=2)", "m",
        "'😀' * 3", "namespace",
    ];

    private static readonly string[] Operators =
    [
        "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or",
    ];

    private static readonly string[] Filters =
    [
        "trim", "upper", "lower", "capitalize", "title", "string", "safe", "indent", "e", "tojson", "length", "first", "last", "list",
        "items", "dictsort", "join", "reverse", "sort", "unique", "sum", "min", "max", "abs", "int", "float", "round", "d", "select",
        "reject", "count",
    ];

    private static readonly string[] FiltersWithArguments =
    [
        "trim", "indent", "tojson", "default", "join", "sort", "map", "select", "selectattr", "rejectattr", "replace", "round", "int",
        "attr", "dictsort", "unique", "sum", "max", "nope",
    ];

    private static readonly string[] Tests = ["defined", "none", "string", "mapping", "sequence", "number", "odd", "even", "lower", "true",
        "callable", "iterable", "eq", "in", "divisibleby", "sameas", "nope"];

    private static readonly string[] Members =
    [
        "strip", "lstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "replace", "title", "find", "rfind", "index", "count",
        "join", "get", "items", "keys", "values", "isdigit", "removeprefix", "append", "content", "x", "__class__", "cycle",
    ];

    private int _left = 60;

    public string Compose() => string.Concat(Enumerable.Range(0, random.Next(1, 5)).Select(_ => Statement(0)));

    private string Statement(int depth) => (depth > 3 ? 0 : random.Next(12)) switch
    {
        1 => $"{{% for m in {Value(0)} %}}{Statement(depth + 1)}{{{{ loop.index }}}}{{% else %}}x{{% endfor %}}",
        2 => $"{{% for a, b in {Value(0)} if {Value(0)} %}}{Statement(depth + 1)}{{% endfor %}}",
        3 => $"{{% if {Value(0)} %}}{Statement(depth + 1)}{{% elif {Value(0)} %}}y{{% else %}}{Statement(depth + 1)}{{% endif %}}",
        4 => $"{{% set {Pick("a", "b", "zzz", "m")} = {Value(0)} %}}",
        5 => $"{{% set ns = namespace(x={Value(0)}) %}}{{% for i in range(40) %}}{{% set ns.x = {Value(0)} %}}{{% endfor %}}",
        6 => $"{{% set a %}}{Statement(depth + 1)}{{% endset %}}",
        7 => $"{{% macro {Pick("a", "m")}(b, c={Value(0)}) %}}{Statement(depth + 1)}{{% endmacro %}}{{{{ {Pick("a", "m")}({Value(0)}) }}}}",
        8 => $"{{% with a = {Value(0)} %}}{Statement(depth + 1)}{{% endwith %}}",
        9 => $"{{% filter {Pick(Filters)} %}}{Statement(depth + 1)}{{% endfilter %}}",
        10 => $"{{% generation %}}{Statement(depth + 1)}{{% endgeneration %}}",
        _ => $"{{{{ {Value(0)} }}}} ",
    };

    private string Value(int depth) => (depth > 4 || --_left < 0 ? 0 : random.Next(12)) switch
    {
        1 or 2 => $"({Value(depth + 1)} {Pick(Operators)} {Value(depth + 1)})",
        3 => $"({Value(depth + 1)} | {Pick(Filters)})",
        4 => $"({Value(depth + 1)} | {Pick(FiltersWithArguments)}({Arguments(depth)}))",
        5 => $"({Value(depth + 1)} is {Pick(Tests)})",
        6 => $"({Value(depth + 1)} is not {Pick(Tests)}({Value(depth + 1)}))",
        7 => $"{Value(depth + 1)}.{Pick(Members)}",
        8 => $"{Value(depth + 1)}.{Pick(Members)}({Arguments(depth)})",
        9 => $"({Value(depth + 1)})[{Value(depth + 1)}:{Pick("", Value(depth + 1))}:{Pick("", "-1", "2", Value(depth + 1))}]",
        10 => $"({Value(depth + 1)})[{Value(depth + 1)}]",
        11 => $"({Value(depth + 1)} if {Value(depth + 1)} else {Value(depth + 1)})",
        _ => Pick(Atoms),
    };

    private string Arguments(int depth) => string.Join(", ", Enumerable.Range(0, random.Next(4))
        .Select(_ => Pick("'role'", "'upper'", "'eq'", "attribute='content'", "2", Value(depth + 2)))
        .OrderBy(static argument => argument.StartsWith("attribute=", StringComparison.Ordinal)));

    private string Pick(params ReadOnlySpan<string> choices) => choices[random.Next(choices.Length)];
}

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>What follows <c>is</c>.</summary>
internal sealed class Tests(Operations operations)
{
    private delegate bool Function(Operations operations, Value value, Arguments arguments);

    private static readonly Dictionary<string, Function> All = new(StringComparer.Ordinal)
    {
        ["defined"] = static (_, value, _) => value is not UndefinedValue,
        ["undefined"] = static (_, value, _) => value is UndefinedValue,
        ["none"] = static (_, value, _) => value is NoneValue,
        ["true"] = static (_, value, _) => value is BoolValue { Value: true },
        ["false"] = static (_, value, _) => value is BoolValue { Value: false },
        ["boolean"] = static (_, value, _) => value is BoolValue,
        ["string"] = static (_, value, _) => value is TextValue,
        ["number"] = static (_, value, _) => value is IntValue or FloatValue or BoolValue,
        ["integer"] = static (_, value, _) => value is IntValue,
        ["float"] = static (_, value, _) => value is FloatValue,
        ["mapping"] = static (_, value, _) => value is DictValue,
        ["sequence"] = static (_, value, _) => value is ListValue or DictValue or TextValue or UndefinedValue,
        ["iterable"] = static (_, value, _) => value is ListValue or DictValue or TextValue or UndefinedValue,
        ["callable"] = static (_, value, _) => value is CallableValue,
        ["lower"] = static (operations, value, _) => operations.Text(operations.PayKey(value)) is var text && text.Any(char.IsLower)
            && !text.Any(char.IsUpper),
        ["upper"] = static (operations, value, _) => operations.Text(operations.PayKey(value)) is var text && text.Any(char.IsUpper)
            && !text.Any(char.IsLower),
        ["odd"] = static (operations, value, _) => Rest(operations, value, Value.Of(2)) == 1,
        ["even"] = static (operations, value, _) => Rest(operations, value, Value.Of(2)) == 0,
        ["divisibleby"] = static (operations, value, arguments) => Rest(operations, value, arguments.Need(0, "num")) == 0,
        ["sameas"] = static (_, value, arguments) => ReferenceEquals(value, arguments.Need(0, "other"))
            || (value is NoneValue or BoolValue or IntValue or TextValue && value.GetType() == arguments.Need(0, "other").GetType()
                && KeyComparer.Instance.Equals(value, arguments.Need(0, "other"))),
        ["in"] = static (operations, value, arguments) => operations.Contains(arguments.Need(0, "seq"), value),
        ["eq"] = Comparing("=="), ["equalto"] = Comparing("=="), ["=="] = Comparing("=="),
        ["ne"] = Comparing("!="), ["!="] = Comparing("!="),
        ["lt"] = Comparing("<"), ["lessthan"] = Comparing("<"), ["<"] = Comparing("<"),
        ["le"] = Comparing("<="), ["<="] = Comparing("<="),
        ["gt"] = Comparing(">"), ["greaterthan"] = Comparing(">"), [">"] = Comparing(">"),
        ["ge"] = Comparing(">="), [">="] = Comparing(">="),
    };

    public bool Holds(string name, Value value, Arguments arguments) => All.TryGetValue(name, out var test)
        ? test(operations, value, arguments)
        : throw new JinjaException($"there is no test {name}; known are {string.Join(", ", All.Keys.Order(StringComparer.Ordinal))}");

    private static Function Comparing(string sign) =>
        (operations, value, arguments) => operations.Compare(sign, value, arguments.Need(0, "other"));

    private static double? Rest(Operations operations, Value value, Value by) => Operations.Number(operations.Binary("%", value, by));
}

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Expressions.</summary>
internal sealed partial class Interpreter
{
    private Value Evaluate(Expression expression)
    {
        _budget.Enter();
        _budget.Spend(40);
        Line = expression.Line;
        var value = expression switch
        {
            Literal literal => literal.Value,
            Name name => _scope.Get(name.Id) ?? new UndefinedValue($"{name.Id}, which is not defined"),
            ListLiteral list => new ListValue(All(list.Items), list.IsTuple),
            DictLiteral dict => Dict(dict),
            Unary unary => Signed(unary),
            Binary { Operator: "and" } both => Evaluate(both.Left) is { IsTrue: false } no ? no : Evaluate(both.Right),
            Binary { Operator: "or" } either => Evaluate(either.Left) is { IsTrue: true } yes ? yes : Evaluate(either.Right),
            Binary binary => _operations.Binary(binary.Operator, Evaluate(binary.Left), Evaluate(binary.Right)),
            Comparison comparison => Compared(comparison),
            Concatenation concatenation => Concatenated(concatenation),
            Conditional choice => Evaluate(choice.Condition).IsTrue ? Evaluate(choice.Then)
                : choice.Else is null ? new UndefinedValue("the missing else of a condition")
                : Evaluate(choice.Else),
            Attribute attribute => _operations.Attribute(Evaluate(attribute.Of), attribute.Id),
            Item item => _operations.Item(Evaluate(item.Of), Evaluate(item.Key)),
            Slice slice => _operations.Slice(Evaluate(slice.Of), Bound(slice.Start), Bound(slice.Stop), Bound(slice.Step)),
            Call call => Called(call),
            Filter filter => Filtered(filter, null),
            Test test => Value.Of(_tests.Holds(test.Id, Evaluate(test.Of), Arguments(test.Arguments)) != test.Negated),
            _ => throw new InvalidOperationException($"no rule for {expression.GetType().Name}"),
        };
        _budget.Leave();
        return value;
    }

    private Value[] All(IReadOnlyList<Expression> expressions)
    {
        _budget.Spend(32 + 8L * expressions.Count);
        return [.. expressions.Select(Evaluate)];
    }

    private DictValue Dict(DictLiteral literal)
    {
        _budget.Spend(200 + 64L * literal.Entries.Count);
        var dict = new DictValue();
        foreach (var (key, value) in literal.Entries) dict.Entries[_operations.PayKey(Evaluate(key))] = Evaluate(value);
        return dict;
    }

    private Value Signed(Unary unary)
    {
        var operand = Evaluate(unary.Operand);
        return unary.Operator switch
        {
            "not" => Value.Of(!operand.IsTrue),
            "-" => Operations.Negative(operand),
            _ => Operations.Number(operand) is null ? throw new JinjaException($"'+' has no meaning for {operand.Kind}") : operand,
        };
    }

    private Value Compared(Comparison comparison)
    {
        var left = Evaluate(comparison.First);
        foreach (var (sign, operand) in comparison.Rest)
        {
            var right = Evaluate(operand);
            if (!_operations.Compare(sign, left, right)) return Value.False;
            left = right;
        }

        return Value.True;
    }

    private Value Concatenated(Concatenation concatenation)
    {
        var texts = All(concatenation.Items).Select(_operations.Text).ToList();
        _budget.SpendText(texts.Sum(static text => (long)text.Length));
        return Value.Of(string.Concat(texts));
    }

    private long? Bound(Expression? expression) => expression is null ? null : Evaluate(expression) switch
    {
        NoneValue => null,
        var value => Operations.Whole(value) ?? throw new JinjaException($"a bound of a slice is {value.Kind}; make it an integer"),
    };

    private Value Called(Call call)
    {
        var callee = Evaluate(call.Callee);
        var arguments = Arguments(call.Arguments);
        Line = call.Line;
        return callee is CallableValue function ? function.Call(arguments) : throw new JinjaException($"{callee.Kind} cannot be called");
    }

    // Innermost first; the body of a block stands in for what is missing there.
    private Value Filtered(Filter filter, Value? body)
    {
        _budget.Enter();
        var value = filter.Of switch
        {
            null => body ?? throw new InvalidOperationException("a filter of nothing"),
            Filter inner => Filtered(inner, body),
            var of => Evaluate(of),
        };
        var arguments = Arguments(filter.Arguments);
        Line = filter.Line;
        var result = _filters.Apply(filter.Id, value, arguments);
        _budget.Leave();
        return result;
    }

    private Arguments Arguments(ArgumentList list)
    {
        if (list == ArgumentList.Empty) return Jinja.Arguments.Empty;
        _budget.Spend(64 + 200L * Math.Min(1, list.Named.Count) + 32L * list.Named.Count);
        var named = new Dictionary<string, Value>(StringComparer.Ordinal);
        foreach (var (name, value) in list.Named) named[name] = Evaluate(value);
        return new(All(list.Positional), named);
    }
}

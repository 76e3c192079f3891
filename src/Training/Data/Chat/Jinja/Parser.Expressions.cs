using System.Globalization;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Expressions, loosest binding first.</summary>
internal sealed partial class Parser
{
    private static readonly HashSet<string> Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    private Expression TupleOrExpression(bool withConditional = true)
    {
        var line = Line;
        var first = withConditional ? ParseExpression() : Or();
        if (!Current.Is(",")) return first;
        var items = new List<Expression> { first };
        while (Take(",") && BeginsExpression()) items.Add(withConditional ? ParseExpression() : Or());
        return new ListLiteral(line, items, IsTuple: true);
    }

    private bool BeginsExpression() => Current.Kind is TokenKind.Name or TokenKind.String or TokenKind.Int or TokenKind.Float
        || Current.Is("(") || Current.Is("[") || Current.Is("{") || Current.Is("-") || Current.Is("+");

    private Expression ParseExpression()
    {
        if (++_depth > MaxDepth) throw new JinjaException($"blocks and brackets nest deeper than {MaxDepth} levels; take them apart");
        var line = Line;
        var value = Or();
        // a if b else c if d: the else takes the rest.
        if (TakeName("if"))
        {
            var condition = Or();
            value = new Conditional(line, condition, value, TakeName("else") ? ParseExpression() : null);
        }

        _depth--;
        return value;
    }

    private Expression Or()
    {
        var left = And();
        while (Current.IsName("or")) left = new Binary(Take().Line, "or", left, And());
        return left;
    }

    private Expression And()
    {
        var left = Not();
        while (Current.IsName("and")) left = new Binary(Take().Line, "and", left, Not());
        return left;
    }

    private Expression Not()
    {
        var (line, count) = (Line, 0);
        while (TakeName("not")) count++;
        var operand = Compare();
        // "not not x" is a boolean, unlike x.
        return count == 0 ? operand : new Unary(line, "not", count % 2 == 1 ? operand : new Unary(line, "not", operand));
    }

    private Expression Compare()
    {
        var (line, first) = (Line, Sum());
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && Comparisons.Contains(Current.Text)) rest.Add((Take().Text, Sum()));
            else if (TakeName("in")) rest.Add(("in", Sum()));
            else if (Current.IsName("not") && tokens[_next + 1].IsName("in"))
            {
                _next += 2;
                rest.Add(("not in", Sum()));
            }
            else return rest.Count == 0 ? first : new Comparison(line, first, rest);
        }
    }

    private Expression Sum()
    {
        var left = Concat();
        while (Current.Is("+") || Current.Is("-"))
        {
            var sign = Take();
            left = new Binary(sign.Line, sign.Text, left, Concat());
        }

        return left;
    }

    private Expression Concat()
    {
        var (line, first) = (Line, Product());
        if (!Current.Is("~")) return first;
        var items = new List<Expression> { first };
        while (Take("~")) items.Add(Product());
        return new Concatenation(line, items);
    }

    private Expression Product()
    {
        var left = Power();
        while (Current.Is("*") || Current.Is("/") || Current.Is("//") || Current.Is("%"))
        {
            var sign = Take();
            left = new Binary(sign.Line, sign.Text, left, Power());
        }

        return left;
    }

    private Expression Power()
    {
        var left = Signed(withFilters: true);
        while (Current.Is("**")) left = new Binary(Take().Line, "**", left, Signed(withFilters: true));
        return left;
    }

    private Expression Signed(bool withFilters)
    {
        if (++_depth > MaxDepth) throw new JinjaException($"blocks and brackets nest deeper than {MaxDepth} levels; take them apart");
        var line = Line;
        var value = Current.Is("-") || Current.Is("+") ? new Unary(line, Take().Text, Signed(withFilters: false)) : Primary();
        value = Postfix(value);
        if (withFilters) value = FiltersAndTests(value);
        _depth--;
        return value;
    }

    private Expression Primary()
    {
        var token = Take();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Literal(token.Line, Value.True),
                    "false" or "False" => new Literal(token.Line, Value.False),
                    "none" or "None" => new Literal(token.Line, Value.None),
                    _ => new Name(token.Line, token.Text),
                };
            case TokenKind.String:
                var text = token.Text;
                if (Current.Kind == TokenKind.String) text = string.Concat(Strings(text));
                return new Literal(token.Line, Value.Of(text));
            case TokenKind.Int:
                return long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                    ? new Literal(token.Line, Value.Of(number))
                    : throw new JinjaException("an integer has more than 64 bits; make it smaller");
            case TokenKind.Float:
                return new Literal(token.Line, new FloatValue(double.Parse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture)));
            case TokenKind.Operator when token.Text == "(":
                if (Take(")")) return new ListLiteral(token.Line, [], IsTuple: true);
                var inner = TupleOrExpression();
                return Take(")") ? inner : throw Unexpected("')'");
            case TokenKind.Operator when token.Text == "[":
                return new ListLiteral(token.Line, Items("]"), IsTuple: false);
            case TokenKind.Operator when token.Text == "{":
                return Dict(token.Line);
            default:
                if (token.Kind != TokenKind.End) _next--;
                throw Unexpected("a value");
        }
    }

    private IEnumerable<string> Strings(string first)
    {
        yield return first;
        while (Current.Kind == TokenKind.String) yield return Take().Text;
    }

    private List<Expression> Items(string end)
    {
        var items = new List<Expression>();
        while (!Take(end))
        {
            items.Add(ParseExpression());
            if (!Take(",") && !Current.Is(end)) throw Unexpected($"',' or '{end}'");
        }

        return items;
    }

    private DictLiteral Dict(int line)
    {
        var entries = new List<(Expression, Expression)>();
        while (!Take("}"))
        {
            var key = ParseExpression();
            if (!Take(":")) throw Unexpected("':'");
            entries.Add((key, ParseExpression()));
            if (!Take(",") && !Current.Is("}")) throw Unexpected("',' or '}'");
        }

        return new(line, entries);
    }

    private Expression Postfix(Expression value)
    {
        while (true)
        {
            var line = Line;
            if (Take("."))
            {
                var token = Take();
                value = token.Kind switch
                {
                    TokenKind.Name => new Attribute(line, value, token.Text),
                    TokenKind.Int when long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out var index) =>
                        new Item(line, value, new Literal(line, Value.Of(index))),
                    _ => throw new JinjaException($"found {Shown(token)} after '.', expected the name of an attribute"),
                };
            }
            else if (Take("[")) value = Subscript(line, value);
            else if (Current.Is("(")) value = new Call(line, value, ParseArguments());
            else return value;
        }
    }

    private Expression Subscript(int line, Expression value)
    {
        var start = Current.Is(":") ? null : ParseExpression();
        if (start is not null && Take("]")) return new Item(line, value, start);
        if (!Take(":")) throw Unexpected("':' or ']'");
        var stop = Current.Is(":") || Current.Is("]") ? null : ParseExpression();
        var step = Take(":") && !Current.Is("]") ? ParseExpression() : null;
        return Take("]") ? new Slice(line, value, start, stop, step) : throw Unexpected("']'");
    }

    private Expression FiltersAndTests(Expression value)
    {
        while (true)
        {
            if (Take("|")) value = FilterChain(value)!;
            else if (Current.IsName("is")) value = ParseTest(value);
            else if (Current.Is("(")) value = new Call(Line, value, ParseArguments());
            else return value;
        }
    }

    // After the bar of the first filter.
    private Expression? FilterChain(Expression? value)
    {
        do
        {
            var name = Expect(TokenKind.Name, "the name of a filter");
            value = new Filter(name.Line, value, name.Text, Current.Is("(") ? ParseArguments() : ArgumentList.Empty);
        }
        while (Take("|"));
        return value;
    }

    private Test ParseTest(Expression value)
    {
        var line = Take().Line;
        var negated = TakeName("not");
        var name = Expect(TokenKind.Name, "the name of a test").Text;
        if (Current.Is("(")) return new(line, value, name, ParseArguments(), negated);
        var hasArgument = Current.Kind is TokenKind.Name
            ? Current.Text is not ("else" or "or" or "and" or "is" or "if" or "in" or "not" or "recursive")
            : Current.Kind is TokenKind.String or TokenKind.Int or TokenKind.Float || Current.Is("[") || Current.Is("{");
        return new(line, value, name, hasArgument ? new([Postfix(Primary())], []) : ArgumentList.Empty, negated);
    }

    private ArgumentList ParseArguments()
    {
        Take("(");
        var (positional, named) = (new List<Expression>(), new List<(string, Expression)>());
        while (!Take(")"))
        {
            if (Current.Kind == TokenKind.Name && tokens[_next + 1].Is("="))
            {
                var name = Take().Text;
                _next++;
                named.Add((name, ParseExpression()));
            }
            else if (named.Count > 0) throw Unexpected("an argument with a name, since one came before");
            else positional.Add(ParseExpression());
            if (!Take(",") && !Current.Is(")")) throw Unexpected("',' or ')'");
        }

        return new(positional, named);
    }
}

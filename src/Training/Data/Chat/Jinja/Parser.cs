namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Tokens to statements.</summary>
internal sealed partial class Parser(IReadOnlyList<Token> tokens)
{
    private const int MaxDepth = 100;
    private int _next;
    private int _depth;
    private int _loops;

    /// <summary>Line of the token that is looked at, for an error's place.</summary>
    public int Line => Current.Line;

    private Token Current => tokens[_next];

    public IReadOnlyList<Statement> Parse() => Body();

    // Statements up to the end of the template, or to a block tag with one of the names, which is left as the current token.
    private List<Statement> Body(params ReadOnlySpan<string> until)
    {
        if (++_depth > MaxDepth) throw new JinjaException($"blocks and brackets nest deeper than {MaxDepth} levels; take them apart");
        var (body, opened) = (new List<Statement>(), tokens[Math.Max(0, _next - 1)].Line);
        while (true)
        {
            var token = Take();
            switch (token.Kind)
            {
                case TokenKind.Text:
                    body.Add(new RawText(token.Line, token.Text));
                    break;
                case TokenKind.BeginPrint:
                    body.Add(new Print(token.Line, TupleOrExpression()));
                    Expect(TokenKind.EndPrint, "}}");
                    break;
                case TokenKind.BeginBlock when Current.Kind == TokenKind.Name && until.Contains(Current.Text):
                    _depth--;
                    return body;
                case TokenKind.BeginBlock:
                    body.Add(Block());
                    break;
                default:
                    if (until.Length > 0)
                        throw new JinjaException($"the block that begins in line {opened} is not closed; end it with {{% {until[^1]} %}}");
                    _depth--;
                    return body;
            }
        }
    }

    private Statement Block()
    {
        var tag = Expect(TokenKind.Name, "the name of a statement");
        switch (tag.Text)
        {
            case "if":
                return ParseIf(tag.Line);
            case "for":
                return ParseFor(tag.Line);
            case "set":
                return ParseSet(tag.Line);
            case "macro":
                return ParseMacro(tag.Line);
            case "with":
                return ParseWith(tag.Line);
            case "filter":
                var filters = FilterChain(null) as Filter ?? throw Unexpected("the name of a filter");
                return new FilterBlock(tag.Line, filters, Enclosed("endfilter"));
            case "generation":
                return new Generation(tag.Line, Enclosed("endgeneration"));
            case "break" or "continue" when _loops > 0:
                CloseTag();
                return new Jump(tag.Line, tag.Text == "break" ? Flow.Break : Flow.Continue);
            case "break" or "continue":
                throw new JinjaException($"{tag.Text} is outside of a loop; put it inside {{% for %}}");
            default:
                throw new JinjaException($"the statement {tag.Text} is not one of if, for, set, macro, with, filter, generation, break, "
                    + "continue, raw; chat templates can do without it");
        }
    }

    private If ParseIf(int line)
    {
        var branches = new List<(Expression, IReadOnlyList<Statement>)>();
        do
        {
            var condition = TupleOrExpression();
            CloseTag();
            branches.Add((condition, Body("elif", "else", "endif")));
        }
        while (TakeName("elif"));
        return new(line, branches, ElseBody("endif"));
    }

    private For ParseFor(int line)
    {
        var target = Target(line);
        ExpectName("in");
        var items = TupleOrExpression(withConditional: false);
        var condition = TakeName("if") ? ParseExpression() : null;
        if (Current.IsName("recursive")) throw new JinjaException("recursive loops are not supported; use a macro that calls itself");
        CloseTag();
        _loops++;
        var body = Body("else", "endfor");
        _loops--;
        return new(line, target, items, condition, body, ElseBody("endfor"));
    }

    private Statement ParseSet(int line)
    {
        var target = Target(line);
        if (Take("="))
        {
            var value = TupleOrExpression();
            CloseTag();
            return new Set(line, target, value);
        }

        var filters = Take("|") ? FilterChain(null) as Filter : null;
        return new SetBlock(line, target, filters, Enclosed("endset"));
    }

    private Macro ParseMacro(int line)
    {
        var id = Expect(TokenKind.Name, "the name of the macro").Text;
        var parameters = new List<(string, Expression?)>();
        if (!Take("(")) throw Unexpected("'('");
        while (!Take(")"))
        {
            var name = Expect(TokenKind.Name, "the name of a parameter").Text;
            parameters.Add((name, Take("=") ? ParseExpression() : null));
            if (!Take(",") && !Current.Is(")")) throw Unexpected("',' or ')'");
        }

        var loops = _loops;
        _loops = 0;
        var body = Enclosed("endmacro");
        _loops = loops;
        return new(line, id, parameters, body);
    }

    private With ParseWith(int line)
    {
        var values = new List<(Expression, Expression)>();
        while (Current.Kind != TokenKind.EndBlock)
        {
            if (values.Count > 0 && !Take(",")) throw Unexpected("',' or %}");
            var target = new Name(line, Expect(TokenKind.Name, "a name").Text);
            if (!Take("=")) throw Unexpected("'='");
            values.Add((target, ParseExpression()));
        }

        return new(line, values, Enclosed("endwith"));
    }

    // A name, an attribute of a namespace, or names to unpack into.
    private Expression Target(int line)
    {
        var brackets = Take("(");
        var items = new List<Expression>();
        var isTuple = false;
        do
        {
            if (items.Count > 0 && Current.Kind != TokenKind.Name) break;
            var name = Expect(TokenKind.Name, "the name of a variable").Text;
            items.Add(Take(".")
                ? new Attribute(line, new Name(line, name), Expect(TokenKind.Name, "the name of an attribute").Text)
                : new Name(line, name));
        }
        while (Take(",") && (isTuple = true));
        if (brackets && !Take(")")) throw Unexpected("')'");
        return isTuple ? new ListLiteral(line, items, IsTuple: true) : items[0];
    }

    private List<Statement> Enclosed(string end)
    {
        CloseTag();
        var body = Body(end);
        ExpectName(end);
        CloseTag();
        return body;
    }

    private List<Statement> ElseBody(string end)
    {
        List<Statement> body = [];
        if (TakeName("else"))
        {
            CloseTag();
            body = Body(end);
        }

        ExpectName(end);
        CloseTag();
        return body;
    }

    private Token Take() => Current.Kind == TokenKind.End ? Current : tokens[_next++];

    private bool Take(string symbol)
    {
        if (!Current.Is(symbol)) return false;
        _next++;
        return true;
    }

    private bool TakeName(string name)
    {
        if (!Current.IsName(name)) return false;
        _next++;
        return true;
    }

    private void ExpectName(string name)
    {
        if (!TakeName(name)) throw Unexpected(name);
    }

    private Token Expect(TokenKind kind, string what) => Current.Kind == kind ? Take() : throw Unexpected(what);

    private void CloseTag() => Expect(TokenKind.EndBlock, "%}");

    private JinjaException Unexpected(string expected) => new($"found {Shown(Current)}, expected {expected}");

    private static string Shown(Token token) => token.Kind switch
    {
        TokenKind.End => "the end of the template",
        TokenKind.EndPrint => "}}",
        TokenKind.EndBlock => "%}",
        TokenKind.String => "a string",
        _ => $"'{(token.Text.Length > 40 ? token.Text[..40] + "..." : token.Text).ReplaceLineEndings(" ")}'",
    };
}

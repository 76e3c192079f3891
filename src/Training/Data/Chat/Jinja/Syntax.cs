namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>An expression; <paramref name="Line"/> is counted from 1.</summary>
internal abstract record Expression(int Line);

internal sealed record Literal(int Line, Value Value) : Expression(Line);

internal sealed record Name(int Line, string Id) : Expression(Line);

internal sealed record ListLiteral(int Line, IReadOnlyList<Expression> Items, bool IsTuple) : Expression(Line);

internal sealed record DictLiteral(int Line, IReadOnlyList<(Expression Key, Expression Value)> Entries) : Expression(Line);

internal sealed record Unary(int Line, string Operator, Expression Operand) : Expression(Line);

internal sealed record Binary(int Line, string Operator, Expression Left, Expression Right) : Expression(Line);

/// <summary><c>a &lt; b &lt; c</c>: each operand against the next.</summary>
internal sealed record Comparison(int Line, Expression First, IReadOnlyList<(string Operator, Expression Operand)> Rest) : Expression(Line);

internal sealed record Concatenation(int Line, IReadOnlyList<Expression> Items) : Expression(Line);

internal sealed record Conditional(int Line, Expression Condition, Expression Then, Expression? Else) : Expression(Line);

internal sealed record Attribute(int Line, Expression Of, string Id) : Expression(Line);

internal sealed record Item(int Line, Expression Of, Expression Key) : Expression(Line);

internal sealed record Slice(int Line, Expression Of, Expression? Start, Expression? Stop, Expression? Step) : Expression(Line);

internal sealed record Call(int Line, Expression Callee, ArgumentList Arguments) : Expression(Line);

/// <param name="Line">Line.</param>
/// <param name="Of">What is filtered; null for the body of a <c>set</c> or <c>filter</c> block.</param>
/// <param name="Id">The filter's name.</param>
/// <param name="Arguments">Its arguments.</param>
internal sealed record Filter(int Line, Expression? Of, string Id, ArgumentList Arguments) : Expression(Line);

internal sealed record Test(int Line, Expression Of, string Id, ArgumentList Arguments, bool Negated) : Expression(Line);

internal sealed record ArgumentList(IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Value)> Named)
{
    public static readonly ArgumentList Empty = new([], []);
}

/// <summary>A statement; <paramref name="Line"/> is counted from 1.</summary>
internal abstract record Statement(int Line);

internal sealed record RawText(int Line, string Text) : Statement(Line);

internal sealed record Print(int Line, Expression Value) : Statement(Line);

internal sealed record If(
    int Line, IReadOnlyList<(Expression Condition, IReadOnlyList<Statement> Body)> Branches,
    IReadOnlyList<Statement> Else) : Statement(Line);

internal sealed record For(
    int Line, Expression Target, Expression Items, Expression? Condition, IReadOnlyList<Statement> Body,
    IReadOnlyList<Statement> Else) : Statement(Line);

internal sealed record Set(int Line, Expression Target, Expression Value) : Statement(Line);

internal sealed record SetBlock(int Line, Expression Target, Filter? Filters, IReadOnlyList<Statement> Body) : Statement(Line);

internal sealed record FilterBlock(int Line, Filter Filters, IReadOnlyList<Statement> Body) : Statement(Line);

internal sealed record With(int Line, IReadOnlyList<(Expression Target, Expression Value)> Values, IReadOnlyList<Statement> Body)
    : Statement(Line);

internal sealed record Macro(
    int Line, string Id, IReadOnlyList<(string Name, Expression? Default)> Parameters, IReadOnlyList<Statement> Body) : Statement(Line);

/// <summary>What the assistant says.</summary>
internal sealed record Generation(int Line, IReadOnlyList<Statement> Body) : Statement(Line);

internal sealed record Jump(int Line, Flow Flow) : Statement(Line);

/// <summary>How a statement leaves its block.</summary>
internal enum Flow
{
    Next,
    Break,
    Continue,
}

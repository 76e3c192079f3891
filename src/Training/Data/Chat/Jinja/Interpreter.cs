using System.Text;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>Variables of a block; what it does not know, the block around it may.</summary>
internal sealed class Scope(Scope? outer)
{
    private readonly Dictionary<string, Value> _values = new(StringComparer.Ordinal);

    public Value? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Outer)
            if (scope._values.TryGetValue(name, out var value)) return value;
        return null;
    }

    public void Set(string name, Value value) => _values[name] = value;

    private Scope? Outer { get; } = outer;
}

/// <summary>One run of a template.</summary>
internal sealed partial class Interpreter
{
    private const int IterationBytes = 320;
    private readonly Budget _budget;
    private readonly Operations _operations;
    private readonly Tests _tests;
    private readonly Filters _filters;
    private readonly List<(int From, int To)> _generated = [];
    private readonly StringBuilder _text = new();
    private StringBuilder _output;
    private Scope _scope = new(null);

    public Interpreter(Budget budget)
    {
        (_budget, _output) = (budget, _text);
        _operations = new(budget);
        _tests = new(_operations);
        _filters = new(_operations, _tests, budget);
    }

    /// <summary>Line of what is being run, for an error's place.</summary>
    public int Line { get; private set; } = 1;

    /// <summary>The text, and the places in it that <c>generation</c> blocks wrote.</summary>
    public (string Text, IReadOnlyList<(int From, int To)> Generated) Run(
        IReadOnlyList<Statement> statements, IEnumerable<KeyValuePair<string, Value>> variables)
    {
        foreach (var (name, value) in variables) _scope.Set(name, value);
        _scope = new(_scope);
        Run(statements);
        return (_text.ToString(), _generated);
    }

    private Flow Run(IReadOnlyList<Statement> statements)
    {
        foreach (var statement in statements)
            if (Run(statement) is not Flow.Next and var flow) return flow;
        return Flow.Next;
    }

    private Flow Run(Statement statement)
    {
        _budget.Enter();
        _budget.Spend(32);
        Line = statement.Line;
        var flow = Flow.Next;
        switch (statement)
        {
            case RawText raw:
                Write(raw.Text);
                break;
            case Print print:
                Write(_operations.Text(Evaluate(print.Value)));
                break;
            case If branches:
                var taken = branches.Branches.FirstOrDefault(branch => Evaluate(branch.Condition).IsTrue).Body;
                flow = Run(taken ?? branches.Else);
                break;
            case For loop:
                flow = Loop(loop);
                break;
            case Set set:
                Assign(set.Target, Evaluate(set.Value));
                break;
            case SetBlock set:
                var text = Value.Of(Captured(new(_scope), set.Body));
                Assign(set.Target, set.Filters is null ? text : Filtered(set.Filters, text));
                break;
            case FilterBlock block:
                Write(_operations.Text(Filtered(block.Filters, Value.Of(Captured(new(_scope), block.Body)))));
                break;
            case With with:
                var inner = new Scope(_scope);
                foreach (var (target, value) in with.Values) inner.Set(((Name)target).Id, Evaluate(value));
                flow = Within(inner, with.Body);
                break;
            case Macro macro:
                _scope.Set(macro.Id, Defined(macro, _scope));
                break;
            case Generation generation:
                if (_output != _text)
                    throw new JinjaException("{% generation %} stands inside a macro, a set or a filter block; put it around them");
                var from = _text.Length;
                flow = Within(new(_scope), generation.Body);
                _generated.Add((from, _text.Length));
                break;
            case Jump jump:
                flow = jump.Flow;
                break;
        }

        _budget.Leave();
        return flow;
    }

    private void Write(string text)
    {
        _budget.SpendText(2L * text.Length);
        _output.Append(text);
    }

    private Flow Loop(For loop)
    {
        var source = Evaluate(loop.Items);
        var items = source is LoopValue ? throw new JinjaException("a loop cannot go through loop itself") : _operations.Items(
            source is NoneValue ? throw new JinjaException($"a loop goes through none; test it first, or give it a default") : source);
        if (loop.Condition is { } condition) items = Chosen(items, loop.Target, condition);
        var state = new LoopValue(items);
        for (; state.Index < items.Count; state.Index++)
        {
            _budget.Spend(IterationBytes);
            var scope = new Scope(_scope);
            scope.Set("loop", state);
            var outer = Enter(scope);
            Unpack(loop.Target, items[state.Index]);
            var flow = Run(loop.Body);
            _scope = outer;
            if (flow == Flow.Break) break;
        }

        return items.Count == 0 ? Run(loop.Else) : Flow.Next;
    }

    private List<Value> Chosen(IReadOnlyList<Value> items, Expression target, Expression condition)
    {
        var chosen = new List<Value>();
        foreach (var item in items)
        {
            _budget.Spend(IterationBytes);
            var outer = Enter(new(_scope));
            Unpack(target, item);
            if (Evaluate(condition).IsTrue) chosen.Add(item);
            _scope = outer;
        }

        return chosen;
    }

    private void Assign(Expression target, Value value)
    {
        if (target is not Attribute attribute) Unpack(target, value);
        else if (Evaluate(attribute.Of) is NamespaceValue space) space.Attributes[attribute.Id] = value;
        else
            throw new JinjaException(
                $"{attribute.Id} is set on what is no namespace; begin with {{% set {((Name)attribute.Of).Id} = namespace() %}}");
    }

    private void Unpack(Expression target, Value value)
    {
        if (target is not ListLiteral names)
        {
            if (target is Attribute) Assign(target, value);
            else _scope.Set(((Name)target).Id, value);
            return;
        }

        var items = _operations.Items(value);
        if (items.Count != names.Items.Count)
            throw new JinjaException($"{items.Count} items cannot be unpacked into {names.Items.Count} names");
        for (var i = 0; i < items.Count; i++) Unpack(names.Items[i], items[i]);
    }

    private CallableValue Defined(Macro macro, Scope definedIn) => new($"the macro {macro.Id}", arguments =>
    {
        _budget.Spend(IterationBytes);
        if (arguments.Positional.Count > macro.Parameters.Count)
            throw new JinjaException(
                $"the macro {macro.Id} has {macro.Parameters.Count} parameters and was given {arguments.Positional.Count} arguments");
        if (arguments.Named.Keys.FirstOrDefault(name => macro.Parameters.All(parameter => parameter.Name != name)) is { } unknown)
            throw new JinjaException($"the macro {macro.Id} has no parameter {unknown}");
        var scope = new Scope(definedIn);
        var outer = Enter(scope);
        for (var i = 0; i < macro.Parameters.Count; i++)
        {
            var (name, standard) = macro.Parameters[i];
            scope.Set(name, arguments.Get(i, name)
                ?? (standard is null ? new UndefinedValue($"the parameter {name}") : Evaluate(standard)));
        }

        _scope = outer;
        return Value.Of(Captured(scope, macro.Body));
    });

    private string Captured(Scope scope, IReadOnlyList<Statement> body)
    {
        var outer = _output;
        _output = new StringBuilder();
        Within(scope, body);
        var text = _output.ToString();
        _output = outer;
        return text;
    }

    private Flow Within(Scope scope, IReadOnlyList<Statement> body)
    {
        var outer = Enter(scope);
        var flow = Run(body);
        _scope = outer;
        return flow;
    }

    private Scope Enter(Scope scope)
    {
        var outer = _scope;
        _scope = scope;
        return outer;
    }
}

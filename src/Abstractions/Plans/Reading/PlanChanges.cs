namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>
/// A plan's text with values set from outside it, each given as <c>training.learningRate=1e-3</c>. What is wrong with one names it, and
/// no line of a text that its author has not seen.
/// </summary>
public sealed record PlanChanges
{
    private readonly string _before, _source;
    private readonly IReadOnlyList<Value> _values;

    private PlanChanges(string before, string source, IReadOnlyList<Value> values, string yaml) =>
        (_before, _source, _values, Yaml) = (before, source, values, yaml);

    /// <summary>The text with the values.</summary>
    public string Yaml { get; }

    /// <summary>Sets values, in their order.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="source">What problems call the text.</param>
    /// <param name="option">What problems call the way in which a value is set, such as <c>--set</c>.</param>
    /// <param name="assignments">Key and value of each.</param>
    /// <exception cref="BadInputException">One is no assignment, a key is given twice, or the layout does not let it.</exception>
    public static PlanChanges Of(string yaml, string source, string option, IReadOnlyList<string> assignments) =>
        new PlanChanges(yaml, source, [], yaml).And(option, assignments);

    /// <summary>Sets more values, given in another way.</summary>
    /// <inheritdoc cref="Of" path="/exception"/>
    public PlanChanges And(string option, IReadOnlyList<string> assignments)
    {
        List<Value> more = [.. assignments.Select(one => Parse(option, one))];
        List<Value> all = [.. _values, .. more];
        if (all.GroupBy(static one => one.Path, StringComparer.Ordinal).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{string.Join(" and ", twice)} both set {BadInputException.Shown(twice.Key)}; give it once.");
        foreach (var (later, index) in all.Select(static (one, index) => (one, index)))
        {
            if (all.Take(index).FirstOrDefault(earlier => earlier.Path.StartsWith(later.Path, StringComparison.Ordinal)
                && earlier.Path[later.Path.Length] is '.' or '[') is { } undone)
                throw new BadInputException($"{later} undoes {undone}; give the wider key first.");
        }

        return new(_before, _source, all, more.Aggregate(Yaml, (text, one) => PlanEdit.Set(text, one.Path, one.Text)
            ?? throw new BadInputException(
                $"{one}: cannot be set: {_source} has no such place, or another layout; check the key, or set it there.")));
    }

    /// <summary>The plan, or every problem.</summary>
    public PlanReadResult Read()
    {
        var read = PlanReader.Read(Yaml, _source);
        if (read.Plan is not null || _values.Count == 0) return read;
        var before = PlanReader.Read(_before, _source).Problems.ToLookup(static problem => problem.Message, StringComparer.Ordinal);
        return read with { Problems = [.. read.Problems.Select(problem => Blamed(problem, before[problem.Message].FirstOrDefault()))] };
    }

    /// <summary>The plan, which has to be right.</summary>
    /// <exception cref="PlanException">It is not; the message has one line for each problem.</exception>
    public FederationPlan Require()
    {
        var read = Read();
        return read.Plan ?? throw new PlanException(read.Problems);
    }

    // Of the value at whose key it is; else of the text, where it was there before; else of the values without any one of which it is gone.
    private PlanProblem Blamed(PlanProblem problem, PlanProblem? before)
    {
        var own = _values.Where(one => problem.Message.StartsWith(one.Path, StringComparison.Ordinal)
            && problem.Message.Length > one.Path.Length && problem.Message[one.Path.Length] is ':' or '.' or '[').ToList();
        if (own.Count == 0 && before is not null) return before;
        if (own.Count == 0) own = [.. _values.Where(one => !WithoutOne(one).Contains(PathOf(problem)))];
        return problem with { File = string.Join(' ', own.Count > 0 ? own : _values), Line = 0, Column = 0 };
    }

    // Keys that have problems where one value is left out.
    private HashSet<string> WithoutOne(Value one)
    {
        var yaml = _values.Where(other => other != one)
            .Aggregate(_before, static (text, other) => PlanEdit.Set(text, other.Path, other.Text) ?? text);
        return [.. PlanReader.Read(yaml, _source).Problems.Select(PathOf)];
    }

    private static string PathOf(PlanProblem problem) => problem.Message.Split(": ", 2)[0];

    private static Value Parse(string option, string assignment)
    {
        var shown = BadInputException.Shown(assignment);
        if (assignment.Split('=', 2) is not [{ Length: > 0 } path, { Length: > 0 } value] || string.IsNullOrWhiteSpace(value))
            throw new BadInputException($"{option} '{shown}' sets nothing; write for example training.learningRate=1e-3, "
                + "and null for no value.");
        if (!PlanEdit.IsValue(value))
            throw new BadInputException($"{option} '{shown}': the value is no YAML of one line; put a text into quotes, as in "
                + $"{BadInputException.Shown(path)}='\"a: b #c\"'.");
        return new(option, path, value);
    }

    private sealed record Value(string Option, string Path, string Text)
    {
        public override string ToString() => $"{Option} {BadInputException.Shown(Path)}={BadInputException.Shown(Text)}";
    }
}

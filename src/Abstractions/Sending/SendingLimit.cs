using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Sending;

/// <summary>What a site's administrator lets leave the site: which tensors the updates of its clients may hold.</summary>
public abstract record SendingLimit
{
    private const string Only = "nothing-but";
    private const string Nothing = "nothing";
    private static readonly string[] Scopes = ["job", "task"]; // each lets through those before it too
    private static readonly string[] Words = [.. Scopes, Only, Nothing];

    private SendingLimit()
    {
    }

    /// <summary>Nothing is held back.</summary>
    public static SendingLimit None { get; } = new Unlimited();

    /// <summary>As it is given: <c>job</c>, <c>nothing-but A,B</c>.</summary>
    public abstract string Word { get; }

    /// <summary>What may leave, in words.</summary>
    public abstract string Text { get; }

    /// <summary>Whether updates may hold a tensor.</summary>
    public abstract bool Allows(SentTensor tensor);

    /// <summary>The word that lets leave what this one does and all of these tensors besides.</summary>
    internal string Widened(IReadOnlyList<SentTensor> sent) => this is Tensors { Names.Count: > 0 }
        || sent.Any(static tensor => !Scopes.Contains(tensor.Scope, StringComparer.Ordinal))
        ? $"{Only} {string.Join(',', sent.Select(static tensor => tensor.Name).Union(this is Tensors only ? only.Names : []))}"
        : Scopes[sent.Max(static tensor => Array.IndexOf(Scopes, tensor.Scope))];

    /// <summary>Reads a word: <c>job</c>, <c>task</c>, <c>nothing</c>, or <c>nothing-but</c> and names of tensors.</summary>
    /// <exception cref="BadInputException">It is none of these, or a name is no tensor's.</exception>
    public static SendingLimit Parse(string text)
    {
        var parts = text.Split([' ', '\t', ','], StringSplitOptions.RemoveEmptyEntries);
        var (word, names) = (parts.FirstOrDefault() ?? "", parts.Skip(1).ToArray());
        if (!Words.Contains(word, StringComparer.Ordinal))
            throw new BadInputException($"'{BadInputException.Shown(text)}' says nothing about what may leave a site{Meant(word, Words)}; "
                + $"give job, task, {Only} NAMES or {Nothing}.");
        if (word == Only) return new Tensors(Known(names));
        if (names.Length > 0)
            throw new BadInputException($"'{BadInputException.Shown(text)}': {word} stands alone; names of tensors go with {Only}.");
        return word == Nothing ? new Tensors([]) : new UpTo(word);
    }

    /// <summary>The two together; null where they say different things. Names of tensors add up.</summary>
    internal SendingLimit? And(SendingLimit other) => (this, other) switch
    {
        (Tensors { Names.Count: > 0 } mine, Tensors { Names.Count: > 0 } more) => new Tensors(Sorted(mine.Names.Concat(more.Names))),
        _ => Word == other.Word ? this : null,
    };

    private static string[] Known(string[] names)
    {
        var known = AllNames;
        if (names.Length == 0) throw new BadInputException($"{Only} needs names of tensors; there are {string.Join(", ", known)}.");
        foreach (var name in names.Where(name => !known.Contains(name, StringComparer.Ordinal)))
            throw new BadInputException($"there is no tensor '{BadInputException.Shown(name)}'{Meant(name, known)}; "
                + $"there are {string.Join(", ", known)}.");
        return Sorted(names);
    }

    private static string[] Sorted(IEnumerable<string> names) =>
        [.. AllNames.Where(names.ToHashSet(StringComparer.Ordinal).Contains)];

    private static string[] AllNames => [.. AdapterParts.Roles.Select(static role => role.Name), SentTensor.Statistics, SentTensor.Steps];

    private static string Meant(string given, IEnumerable<string> known) =>
        Nearest.Of(given, known) is { } near ? $" (did you mean {near}?)" : "";

    private sealed record Unlimited : SendingLimit
    {
        public override string Word => "";

        public override string Text => "everything";

        public override bool Allows(SentTensor tensor) => true;
    }

    private sealed record UpTo(string Scope) : SendingLimit
    {
        public override string Word => Scope;

        public override string Text => $"tensors of scope {string.Join(" or ", Allowed)} alone";

        public override bool Allows(SentTensor tensor) => Allowed.Contains(tensor.Scope, StringComparer.Ordinal);

        private string[] Allowed => Scopes[..(Array.IndexOf(Scopes, Scope) + 1)];
    }

    private sealed record Tensors(IReadOnlyList<string> Names) : SendingLimit
    {
        public override string Word => Names.Count == 0 ? Nothing : $"{Only} {string.Join(',', Names)}";

        public override string Text => Names.Count == 0 ? "no tensor" : $"no tensor but {string.Join(" and ", Names)}";

        public override bool Allows(SentTensor tensor) => Names.Contains(tensor.Name, StringComparer.Ordinal);
    }
}

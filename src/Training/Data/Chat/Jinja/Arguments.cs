namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>What a function, filter or test is called with.</summary>
internal sealed record Arguments(IReadOnlyList<Value> Positional, IReadOnlyDictionary<string, Value> Named)
{
    public static readonly Arguments Empty = new([], new Dictionary<string, Value>());

    /// <summary>An argument by place or name; null where it is not given.</summary>
    public Value? Get(int place, string name) => place < Positional.Count ? Positional[place] : Named.GetValueOrDefault(name);

    public Value Need(int place, string name) => Get(place, name) ?? throw new JinjaException($"the argument {name} is missing");

    public string Text(int place, string name) => Need(place, name) is TextValue text
        ? text.Value
        : throw new JinjaException($"the argument {name} is {Need(place, name).Kind}; make it a string");

    public string? TextOrNull(int place, string name) => Get(place, name) is null or NoneValue ? null : Text(place, name);

    public long Int(int place, string name) => Need(place, name) switch
    {
        IntValue number => number.Value,
        BoolValue flag => flag.Value ? 1 : 0,
        var other => throw new JinjaException($"the argument {name} is {other.Kind}; make it an integer"),
    };

    public long? IntOrNull(int place, string name) => Get(place, name) is null or NoneValue ? null : Int(place, name);

    public bool Flag(int place, string name) => Get(place, name)?.IsTrue ?? false;

    /// <summary>Without the first positional ones.</summary>
    public Arguments Skip(int count) => this with { Positional = [.. Positional.Skip(count)] };
}

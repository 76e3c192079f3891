using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters;

/// <summary>What a tensor is in the layer equation.</summary>
internal enum Factor
{
    /// <summary>The down-projection, <c>[R, D_in]</c>.</summary>
    A,

    /// <summary>The heads, <c>[N, D_out, R]</c>.</summary>
    B,

    /// <summary>The router, <c>[N, D_in]</c>.</summary>
    Router,
}

/// <summary>One tensor of an adapter.</summary>
internal sealed record AdapterTensor(LinearShape Target, Factor Factor, IReadOnlyList<long> Shape, Scope Scope, bool Trains)
{
    /// <summary><c>{module}.A</c>, <c>{module}.B</c> or <c>{module}.router</c>.</summary>
    public string Name { get; } = NameOf(Target.Module, Factor);

    public static string NameOf(string module, Factor factor) => $"{module}.{(factor == Factor.Router ? "router" : factor.ToString())}";
}

/// <summary>Which tensors a spec has on the linears of a model, who owns each, and how each begins.</summary>
internal sealed class AdapterLayout
{
    private AdapterLayout(AdapterSpec spec, IReadOnlyList<LinearShape> targets) =>
        (Spec, Targets, Tensors) = (spec, targets, [.. targets.SelectMany(target => TensorsOf(spec, target))]);

    public AdapterSpec Spec { get; }

    /// <summary>The adapted linears, in the model's order.</summary>
    public IReadOnlyList<LinearShape> Targets { get; }

    public IReadOnlyList<AdapterTensor> Tensors { get; }

    /// <summary>The layout on a model's linears.</summary>
    /// <exception cref="BadInputException">A target module that the model does not have, or a rank that a target cannot hold.</exception>
    public static AdapterLayout For(AdapterSpec spec, IReadOnlyList<LinearShape> linears)
    {
        foreach (var suffix in spec.TargetModules)
        {
            if (!linears.Any(linear => Matches(linear.Module, suffix)))
                throw new BadInputException($"targetModules: the model has no linear layer {suffix}; its layers are {string.Join(", ", linears.Select(static linear => LastPart(linear.Module)).Distinct())}");
        }

        var layout = Unbounded(spec, linears);
        foreach (var target in layout.Targets)
        {
            var bound = Math.Min(target.InWidth, target.OutWidth);
            if (spec.Rank < 1 || spec.Rank > bound)
                throw new BadInputException($"rank: {spec.Rank} is outside 1 to {bound}, the smaller side of {target.Module} ({target.InWidth} -> {target.OutWidth})");
        }

        return layout;
    }

    /// <summary>Without a look at targets and rank: an exported adapter holds its frozen twins as rank beyond the bound.</summary>
    public static AdapterLayout Unbounded(AdapterSpec spec, IReadOnlyList<LinearShape> linears) =>
        new(spec, [.. linears.Where(linear => spec.TargetModules.Count == 0 || spec.TargetModules.Any(suffix => Matches(linear.Module, suffix)))]);

    /// <summary>The last component of a module's name.</summary>
    public static string LastPart(string module) => module[(module.LastIndexOf('.') + 1)..];

    /// <summary>The initial values of the tensors that <paramref name="which"/> takes, for a client; null for what is common to all.</summary>
    public AdapterState Initial(ulong seed, ClientSpec? client, Func<AdapterTensor, bool> which) => new(Tensors.Where(which)
        .Select(tensor => KeyValuePair.Create(tensor.Name, Initializers.Draw(LawOf(tensor.Factor), tensor, seed, OwnerOf(tensor, client)))));

    /// <summary>Refuses a state that does not have exactly the tensors of a scope, in their shapes.</summary>
    /// <exception cref="BadInputException">A tensor is missing, unknown, or has another shape.</exception>
    public void Check(AdapterState state, Scope scope, string what)
    {
        var expected = Tensors.Where(tensor => tensor.Scope == scope).ToDictionary(static tensor => tensor.Name, StringComparer.Ordinal);
        foreach (var (name, tensor) in expected)
        {
            if (!state.TryGetValue(name, out var array)) throw new BadInputException($"{what}: tensor {name} is missing");
            if (!array.Shape.SequenceEqual(tensor.Shape))
                throw new BadInputException($"{what}: tensor {name} has shape [{string.Join(", ", array.Shape)}], the plan asks for [{string.Join(", ", tensor.Shape)}]");
        }

        if (state.Keys.FirstOrDefault(name => !expected.ContainsKey(name)) is { } unknown)
            throw new BadInputException($"{what}: tensor {unknown} does not belong to scope {scope} of this plan");
    }

    private Init LawOf(Factor factor) => factor switch
    {
        Factor.A => Spec.InitA,
        Factor.B => Spec.InitB,
        _ => Spec.InitRouter,
    };

    // What is aggregated has one initial value, whatever the policy says.
    private string OwnerOf(AdapterTensor tensor, ClientSpec? client)
    {
        if (tensor.Scope == Scope.Job || client is null) return "";
        var policy = tensor.Factor switch { Factor.A => Spec.SeedA, Factor.B => Spec.SeedB, _ => SeedPolicy.Common };
        return policy switch { SeedPolicy.PerClient => client.Id, SeedPolicy.PerTask => client.Task, _ => "" };
    }

    private static bool Matches(string module, string suffix) =>
        module.EndsWith(suffix, StringComparison.Ordinal) && (module.Length == suffix.Length || module[^(suffix.Length + 1)] == '.');

    private static IEnumerable<AdapterTensor> TensorsOf(AdapterSpec spec, LinearShape target)
    {
        yield return new(target, Factor.A, [spec.Rank, target.InWidth], spec.ScopeA, spec.TrainsA && spec.ScopeA != Scope.Seed);
        yield return new(target, Factor.B, [spec.Heads, target.OutWidth, spec.Rank], spec.ScopeB, spec.TrainsB && spec.ScopeB != Scope.Seed);
        if (spec.HasRouter) yield return new(target, Factor.Router, [spec.Heads, target.InWidth], spec.ScopeRouter, spec.ScopeRouter != Scope.Seed);
    }
}

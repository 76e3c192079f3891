using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>Who owns a tensor.</summary>
public enum Scope
{
    /// <summary>Redrawn from the plan's seed wherever it is needed; never trained, never travels.</summary>
    Seed,

    /// <summary>Aggregated by the coordinator; the same on all clients at the start of a round.</summary>
    Job,

    /// <summary>
    /// Aggregated by the coordinator over the clients of one task; the same on all of them at the start of a round, and received by no
    /// client of another task.
    /// </summary>
    Task,

    /// <summary>Stays with its client.</summary>
    Client,
}

/// <summary>Whether all clients draw the same initial tensor.</summary>
public enum SeedPolicy
{
    /// <summary>One draw for all clients.</summary>
    Common,

    /// <summary>Each client draws its own.</summary>
    PerClient,

    /// <summary>Clients of one task draw the same.</summary>
    PerTask,
}

/// <summary>How a tensor begins, whether it moves, and who has it: the same questions for every tensor of every method.</summary>
public sealed record TensorPolicy
{
    /// <summary>The law of its initial value; not looked at where <see cref="TensorRole.IsDrawn"/> is false.</summary>
    public Init Init { get; init; } = Init.Zero;

    /// <summary>Who shares the draw.</summary>
    public SeedPolicy Seed { get; init; } = SeedPolicy.Common;

    /// <summary>Whether it is trained.</summary>
    public bool Trains { get; init; } = true;

    /// <summary>Who owns it.</summary>
    public Scope Scope { get; init; } = Scope.Client;

    /// <summary>Whether the coordinator aggregates it, so that what training changed leaves the site.</summary>
    [JsonIgnore]
    public bool IsAggregated => Scope is Scope.Job or Scope.Task;

    /// <summary>Whether it belongs to a client or to the clients of a task, as heads do, and not to all clients.</summary>
    [JsonIgnore]
    public bool IsHead => Scope is Scope.Client or Scope.Task;
}

/// <summary>The side of a layer that a tensor is on.</summary>
public enum Side
{
    /// <summary>It is multiplied with the layer's input.</summary>
    In,

    /// <summary>It gives the layer's output.</summary>
    Out,
}

/// <summary>A kind of tensor that a part of a method has on every layer.</summary>
/// <param name="Name">Its key in the plan, and the end of its name in a state.</param>
/// <param name="Default">Its policy where neither the method nor the plan says another.</param>
public sealed record TensorRole(string Name, TensorPolicy Default)
{
    /// <summary>What it is, in a few words.</summary>
    public required string Summary { get; init; }

    /// <summary>Its shape in words: r the rank, heads, and the widths of the layer.</summary>
    public required string Shape { get; init; }

    /// <summary>Which width of the layer the laws that know one count by.</summary>
    public Side Side { get; init; } = Side.In;

    /// <summary>Its first dimension is heads, each drawn from a seed of its own.</summary>
    public bool IsByHead { get; init; }

    /// <summary>What the method adds is a product with it: where it is zero, nothing is added.</summary>
    public bool IsFactor { get; init; }

    /// <summary>Its initial value follows a law; else it is computed from the frozen weight.</summary>
    public bool IsDrawn { get; init; } = true;

    /// <summary>
    /// It moves in training, by what it counts and not by a gradient; neither moments nor decay touch it.
    /// </summary>
    public bool IsCounted { get; init; }

    /// <summary>The role whose owner owns it too: it is made of that tensor by the lifecycle, and no plan gives it a policy.</summary>
    public string? Follows { get; init; }

    /// <summary>What in a plan brings it; null where every method has it.</summary>
    public string? ComesWith { get; init; }

    /// <summary>The role of a tensor, as the name that a state has for it ends.</summary>
    public static string Of(string tensor) => tensor[(tensor.LastIndexOf('.') + 1)..];

    /// <summary>The end of the plan's short keys: <c>scopeRouter</c> stands for <c>tensors: {router: {scope: ..}}</c>.</summary>
    public string KeyEnd => char.ToUpperInvariant(Name[0]) + Name[1..];
}

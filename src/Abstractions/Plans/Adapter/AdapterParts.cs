using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary>What a plan can call by name, and every tensor that there can be: a new part is a line here.</summary>
public static class AdapterParts
{
    /// <summary>How each rule of <c>routing</c> is read.</summary>
    internal static IReadOnlyDictionary<string, Func<PlanSection, Routing>> Routings { get; } =
        new Dictionary<string, Func<PlanSection, Routing>>(StringComparer.OrdinalIgnoreCase)
        {
            ["byTask"] = static _ => new Routing.ByTask(),
            ["mean"] = static _ => new Routing.Mean(),
            ["sum"] = static _ => new Routing.Sum(),
            ["softmax"] = static _ => new Routing.Softmax(),
        };

    /// <summary>The tensors of all parts.</summary>
    public static IReadOnlyList<TensorRole> Roles { get; } =
        [.. ((IAdapterPart[])[new LowRankFactors(), new Routing.Softmax(), new Decomposition()]).SelectMany(static part => part.Roles)];

    /// <summary>A role by its name.</summary>
    /// <exception cref="ArgumentException">No part has it.</exception>
    public static TensorRole Role(string name) => Roles.FirstOrDefault(role => role.Name == name)
        ?? throw new ArgumentException($"No part of a method has a tensor {name}.", nameof(name));
}

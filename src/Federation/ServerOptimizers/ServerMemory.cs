using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>
/// What server optimizers remember, an array for each tensor and quantity: <c>adam/m/layers.0.q_proj.A</c>. The rule is in the name, so
/// that a fork with another rule begins afresh and takes no quantity of one rule for that of another.
/// </summary>
public static class ServerMemory
{
    /// <summary>The name of what a rule remembers of a tensor.</summary>
    public static string NameOf(string rule, string quantity, string tensor) => $"{rule}/{quantity}/{tensor}";

    /// <summary>The tensor that something is remembered of.</summary>
    public static string TensorOf(string name) => name.Split('/', 3)[^1];

    /// <summary>Whether a rule remembers it.</summary>
    public static bool IsOf(string rule, string name) => name.StartsWith($"{rule}/", StringComparison.Ordinal);

    /// <summary>What is remembered of all but some tensors, which began again; null where nothing is.</summary>
    public static AdapterState? Without(AdapterState? memory, IReadOnlySet<string> tensors) =>
        memory is null || tensors.Count == 0 ? memory : new(memory.Where(array => !tensors.Contains(TensorOf(array.Key))));
}

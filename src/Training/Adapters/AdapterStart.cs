using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Initial values that no law draws: tensors of a given adapter, and those that are computed from the frozen weight.</summary>
/// <param name="given">Tensors by the layout's names; null where no adapter is given.</param>
/// <param name="model">The frozen model; asked for only where a tensor begins from its weights.</param>
internal sealed class AdapterStart(AdapterState? given, Func<CausalLanguageModel>? model)
{
    /// <summary>Every tensor is drawn.</summary>
    public static AdapterStart Drawn { get; } = new(null, null);

    /// <summary>Refuses a given adapter that would be no start of the method: on a layer of both, both have the same factors.</summary>
    /// <exception cref="BadInputException">The method has other tensors than the adapter.</exception>
    public void RequireFits(IReadOnlyList<AdapterTensor> tensors)
    {
        if (given is null) return;
        static string ModuleOf(string name) => name[..name.LastIndexOf('.')];
        var (names, adapted) = (tensors.Select(static tensor => tensor.Name).ToHashSet(StringComparer.Ordinal),
            tensors.Select(static tensor => tensor.Target.Module).ToHashSet(StringComparer.Ordinal));
        var modules = given.Keys.Select(ModuleOf).Where(adapted.Contains).ToHashSet(StringComparer.Ordinal);
        // Layers that only one of the two has are refused where the adapter meets the model.
        if (given.Keys.FirstOrDefault(name => !names.Contains(name) && modules.Contains(ModuleOf(name))) is { } unknown)
        {
            throw new BadInputException(
                $"from: the adapter has a tensor {unknown}, for which the method has no place; name a method of A and B");
        }

        if (tensors.FirstOrDefault(Lacks) is { } missing)
            throw new BadInputException($"from: the adapter has no tensor {missing.Name}, which the method has; name a method of A and B");

        bool Lacks(AdapterTensor tensor) =>
            tensor.Role.IsFactor && modules.Contains(tensor.Target.Module) && !given.ContainsKey(tensor.Name);
    }

    /// <summary>The initial value of a tensor; null where its law draws it.</summary>
    /// <exception cref="InvalidOperationException">A tensor begins from the weight, and there is no model.</exception>
    public NamedArray? ValueOf(AdapterTensor tensor, AdapterMethod method)
    {
        if (given?.TryGetValue(tensor.Name, out var value) == true) return value;
        if (tensor.Role.IsDrawn) return null;
        if (model is null) throw new InvalidOperationException($"{tensor.Name} begins from a weight, and there is no model.");
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var weight = model().Frozen(tensor.Target).Rows(ScalarType.Float32);
        return new NamedArray(tensor.Shape, TensorData.Values(method.FromWeight(tensor.Role.Name, weight)));
    }
}

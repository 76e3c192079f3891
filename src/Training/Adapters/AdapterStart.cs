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

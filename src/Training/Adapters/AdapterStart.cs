using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Initial values that no law draws: tensors of a given adapter, and magnitudes that equal the norms of the frozen weight.</summary>
/// <param name="given">Tensors by the layout's names; null where no adapter is given.</param>
/// <param name="model">The frozen model; asked for only where magnitudes begin.</param>
internal sealed class AdapterStart(AdapterState? given, Func<CausalLanguageModel>? model)
{
    /// <summary>Every tensor is drawn.</summary>
    public static AdapterStart Drawn { get; } = new(null, null);

    /// <summary>The initial value of a tensor; null where its law draws it.</summary>
    /// <exception cref="InvalidOperationException">A magnitude is asked for and there is no model.</exception>
    public NamedArray? ValueOf(AdapterTensor tensor)
    {
        if (given?.TryGetValue(tensor.Name, out var value) == true) return value;
        if (tensor.Role.Name != Roles.Magnitude) return null;
        if (model is null) throw new InvalidOperationException($"{tensor.Name} begins as the norms of a weight, and there is no model.");
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        return new NamedArray(tensor.Shape, LowRankAdapter.Values(DecomposedLayer.Norms(DecomposedLayer.Rows(model().WeightOf(tensor.Target), tensor.Target))));
    }
}

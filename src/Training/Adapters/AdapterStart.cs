using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>Initial values that no law draws: tensors of a given adapter, and those that are computed from the frozen weight.</summary>
/// <param name="given">Tensors by the layout's names; null where no adapter is given.</param>
/// <param name="model">The frozen model; asked for only where a tensor begins from its weights.</param>
/// <param name="related">
/// What related adapters change of a layer, <c>[D_out, D_in]</c> each; null where the weight itself is what a subspace is of.
/// </param>
internal sealed class AdapterStart(
    AdapterState? given, Func<CausalLanguageModel>? model, Func<LinearShape, IReadOnlyList<Tensor>>? related = null)
{
    // A layer's two factors are asked for one after another.
    private (string Module, InitLaw Law, NamedArray A, NamedArray B)? _last;

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
    /// <exception cref="BadInputException">Related adapters do not span enough.</exception>
    public NamedArray? ValueOf(AdapterTensor tensor, AdapterTarget target, AdapterMethod method)
    {
        if (given?.TryGetValue(tensor.Name, out var value) == true) return value;
        if (tensor.Role.IsDrawn && !tensor.Policy.Init.IsFromWeight) return null;
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        if (!tensor.Role.IsDrawn)
            return new NamedArray(tensor.Shape,
                TensorData.Values(method.FromWeight(tensor.Role.Name, WeightOf(target, ScalarType.Float32))));
        return tensor.Policy.Init.Law == InitLaw.Subspace ? SubspaceOf(tensor, target) : FactorOf(tensor, target);
    }

    private Tensor WeightOf(AdapterTarget target, ScalarType dtype) =>
        (model ?? throw new InvalidOperationException($"{target.Module} begins from its weight, and there is no model."))()
        .Frozen(target.Layer).Rows(dtype);

    private NamedArray FactorOf(AdapterTensor tensor, AdapterTarget target)
    {
        var law = tensor.Policy.Init.Law;
        if (_last is not { } last || (last.Module, last.Law) != (target.Module, law))
        {
            var (a, b) = WeightStarts.Factors(law, WeightOf(target, ScalarType.Float64).cpu(), target.Scaling);
            _last = last = (target.Module, law, Array(a), Array(b));
        }

        if (tensor.Role.Name == Roles.A) return new(tensor.Shape, last.A.Data[..(int)NamedArray.Count(tensor.Shape)]);
        var (from, columns) = ((int)last.B.Shape[1], (int)tensor.Shape[^1]);
        return new(tensor.Shape,
            [.. Enumerable.Range(0, target.OutWidth).SelectMany(row => last.B.Data.Skip(row * from).Take(columns))]);
    }

    private NamedArray SubspaceOf(AdapterTensor tensor, AdapterTarget target)
    {
        var changes = related?.Invoke(target.Layer);
        var basis = changes is null
            ? WeightStarts.Subspace([WeightOf(target, ScalarType.Float64).cpu()], (int)tensor.Shape[^1],
                $"{target.Module}: its weight's rows")
            : WeightStarts.Subspace(changes, (int)tensor.Shape[^1], $"subspaceFrom: the changes of {target.Module}");
        return new(tensor.Shape, TensorData.Values(basis));
    }

    private static NamedArray Array(Tensor values) => new(values.shape, TensorData.Values(values));
}

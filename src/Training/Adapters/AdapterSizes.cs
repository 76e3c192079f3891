using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>How large a method is on a model, from the folder's <c>config.json</c> alone.</summary>
/// <param name="Layers">How many layers are adapted.</param>
/// <param name="Elements">Numbers of one client's adapter by the role of their tensor, over all layers.</param>
public sealed record AdapterSizes(int Layers, IReadOnlyDictionary<string, long> Elements)
{
    /// <summary>Bytes of a number in an update, a head or an export.</summary>
    public const int BytesPerElement = sizeof(float);

    /// <summary>Bytes of one client's adapter by the role of their tensor, over all layers.</summary>
    public IReadOnlyDictionary<string, long> Bytes =>
        Elements.ToDictionary(static role => role.Key, static role => role.Value * BytesPerElement, StringComparer.Ordinal);

    /// <summary>The rank of a static method's exported factors, on a layer that no pattern gives another rank.</summary>
    public static int ExportedRank(AdapterSpec spec)
    {
        using var scope = NewDisposeScope();
        var layer = new LinearShape("layer", spec.Rank, spec.Rank);
        var layout = AdapterLayout.Unbounded(spec with { TargetModules = [layer.Module] }, [layer]);
        var shapes = layout.Tensors.ToDictionary(static tensor => tensor.Role.Name, static tensor => tensor.Shape, StringComparer.Ordinal);
        Tensor Zeros(string role) => zeros([1, .. shapes[role]]);
        var factors = layout.MethodOf(layout.Targets[0])
            .Factors(new LayerTensors(Zeros, role => layout.HasStart(role) ? Zeros(role) : null));
        return factors.Down.Where(static slot => slot.IsContent).Sum(static slot => (int)slot.Rows.shape[1]);
    }

    /// <summary>The sizes of a method.</summary>
    /// <param name="spec">The method.</param>
    /// <param name="model">A Hugging Face folder.</param>
    /// <exception cref="BadInputException">The folder is not usable, or the method does not fit the model.</exception>
    public static AdapterSizes On(AdapterSpec spec, string model)
    {
        GivenPath.RequireModel(model);
        var layout = AdapterLayout.For(spec, FrozenBase.LayersOf(model));
        return new(layout.Targets.Count, layout.Tensors.GroupBy(static tensor => tensor.Role.Name, StringComparer.Ordinal).ToDictionary(
            static role => role.Key, static role => role.Sum(static tensor => NamedArray.Count(tensor.Shape)), StringComparer.Ordinal));
    }
}

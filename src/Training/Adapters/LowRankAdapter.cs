using System.Runtime.InteropServices;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>A tensor of an adapter on its device.</summary>
internal sealed record AdapterParameter(AdapterTensor Info, Tensor Value);

/// <summary>One client's adapter on a model. Its tensors live in the dispose scope in which it is made.</summary>
internal sealed class LowRankAdapter
{
    private LowRankAdapter(AdapterSpec spec, IReadOnlyList<AdapterParameter> parameters, IReadOnlyDictionary<string, IAdaptedLayer> layers) =>
        (Spec, Parameters, Layers) = (spec, parameters, layers);

    public AdapterSpec Spec { get; }

    public IReadOnlyList<AdapterParameter> Parameters { get; }

    /// <summary>By module.</summary>
    public IReadOnlyDictionary<string, IAdaptedLayer> Layers { get; }

    /// <summary>Puts values on a device.</summary>
    /// <param name="layout">The tensors.</param>
    /// <param name="values">The value of every one of them, shapes already checked.</param>
    /// <param name="twins">Initial A and B where the start is anchored.</param>
    /// <param name="device">Where the tensors go.</param>
    /// <param name="model">Whose weights a decomposed adapter brings to unit norm; else not looked at.</param>
    public static LowRankAdapter Create(AdapterLayout layout, AdapterState values, AdapterState? twins, Device device, CausalLanguageModel? model = null) =>
        Over(layout, info => OnDevice(values[info.Name], device), twins is null ? null : name => OnDevice(twins[name], device), model);

    /// <summary>An adapter over tensors that somebody else owns; those that train become leaves.</summary>
    /// <param name="layout">The tensors.</param>
    /// <param name="tensorOf">Each of them, in its shape.</param>
    /// <param name="twinOf">Initial A and B by name where the start is anchored.</param>
    /// <param name="model">Whose weights a decomposed adapter brings to unit norm; else not looked at.</param>
    public static LowRankAdapter Over(AdapterLayout layout, Func<AdapterTensor, Tensor> tensorOf, Func<string, Tensor>? twinOf, CausalLanguageModel? model)
    {
        var parameters = layout.Tensors.Select(info => new AdapterParameter(info, tensorOf(info).requires_grad_(info.Trains))).ToList();
        var byName = parameters.ToDictionary(static parameter => parameter.Info.Name, static parameter => parameter.Value, StringComparer.Ordinal);
        var layers = layout.Targets.ToDictionary(static target => target.Module, target =>
        {
            var (a, b) = (AdapterTensor.NameOf(target.Module, Roles.A), AdapterTensor.NameOf(target.Module, Roles.B));
            var twin = twinOf is null ? ((Tensor, Tensor)?)null : (twinOf(a), twinOf(b));
            var low = new LowRankLayer(
                layout.Spec, target.Layer, byName[a], byName[b], byName.GetValueOrDefault(AdapterTensor.NameOf(target.Module, Roles.Router)), twin, target.Scaling);
            return layout.Spec.Decomposed
                ? Decomposed(low, target.Layer, byName[AdapterTensor.NameOf(target.Module, Roles.Magnitude)], model ?? throw new ArgumentNullException(nameof(model)))
                : (IAdaptedLayer)low;
        }, StringComparer.Ordinal);
        return new LowRankAdapter(layout.Spec, parameters, layers);
    }

    /// <summary>The values of a scope's tensors.</summary>
    public AdapterState State(Scope scope) => new(Parameters.Where(parameter => parameter.Info.Scope == scope)
        .Select(static parameter => KeyValuePair.Create(parameter.Info.Name, new NamedArray(parameter.Info.Shape, Values(parameter.Value)))));

    /// <summary>Frobenius norm of s B A, heads mixed (a router counted as uniform), summed over layers in quadrature.</summary>
    public double ProductNorm()
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        return Math.Sqrt(Layers.Values.Sum(static layer => layer.SquaredProductNorm()));
    }

    private static DecomposedLayer Decomposed(LowRankLayer low, LinearShape layer, Tensor magnitude, CausalLanguageModel model) =>
        new(low, layer, magnitude, model.WeightOf(layer), model.BiasOf(layer));

    internal static float[] Values(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return MemoryMarshal.Cast<byte, float>(tensor.detach().to(ScalarType.Float32).cpu().contiguous().bytes).ToArray();
    }

    internal static Tensor OnDevice(NamedArray array, Device device) => tensor(array.Data, [.. array.Shape], ScalarType.Float32, device);
}
